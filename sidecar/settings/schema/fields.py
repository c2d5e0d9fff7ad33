"""`identity` and `forwarded`: the fields that the upstream gets from us."""

from typing import Literal

from sidecar.settings.schema.base import Settings


class Identity(Settings, frozen=True):
    """Names of the fields that tell the upstream who is asking; `null` leaves one out.

    Whatever the client sends under these names, in any spelling, is removed.
    """

    user: str | None = "X-Auth-User"
    tenant: str | None = "X-Auth-Tenant"
    roles: str | None = "X-Auth-Roles"


class Forwarded(Settings, frozen=True):
    """Fields about the way a request came.

    Attributes:
        trusted: networks (CIDR, or ``unix``) of proxies before us whose X-Forwarded-* and
            X-Request-Id are believed and kept; from anybody else they are replaced.
        traceparent: ``keep`` continues the caller's trace (W3C Trace Context), ``new`` always
            begins one, ``off`` removes and sets nothing.
        request_id: name of the request id's field.
    """

    trusted: tuple[str, ...] = ()
    traceparent: Literal["keep", "new", "off"] = "keep"
    request_id: str = "X-Request-Id"

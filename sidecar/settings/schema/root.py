"""The whole file."""

from typing import Annotated, Literal

from msgspec import Meta, field

from sidecar.settings.schema.admin import Admin
from sidecar.settings.schema.audit import Audit
from sidecar.settings.schema.base import Settings
from sidecar.settings.schema.cache import Cache, Features
from sidecar.settings.schema.credentials import Credentials
from sidecar.settings.schema.fields import Forwarded, Identity
from sidecar.settings.schema.limits import Overload
from sidecar.settings.schema.listen import Listen
from sidecar.settings.schema.routes import RouteRule
from sidecar.settings.schema.stores import Stores
from sidecar.settings.schema.tracing import Tracing
from sidecar.settings.schema.upstream import Upstream


class Root(Settings, frozen=True):
    """The whole file."""

    upstreams: Annotated[dict[str, Upstream], Meta(min_length=1)]
    stores: Stores
    credentials: Credentials
    routes: Annotated[tuple[RouteRule, ...], Meta(min_length=1)]
    version: Literal[1] = 1
    listen: Listen = field(default_factory=Listen)
    admin: Admin = field(default_factory=Admin)
    identity: Identity = field(default_factory=Identity)
    forwarded: Forwarded = field(default_factory=Forwarded)
    cache: Cache = field(default_factory=Cache)
    features: Features = field(default_factory=Features)
    limits: Overload = field(default_factory=Overload)
    audit: Audit = field(default_factory=Audit)
    tracing: Tracing = field(default_factory=Tracing)
    # Bodies of refusals name the request id; operators may add a line of help, e.g. a contact.
    help_text: str = ""

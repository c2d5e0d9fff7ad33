"""The principal: who asked, and the fields that tell the upstream."""

import re
from typing import Final
from urllib.parse import quote

from sidecar.model.decision import Principal
from sidecar.model.facts import Proof, Session, VerifiedToken
from sidecar.settings.schema import Identity

# A token (RFC 9110 section 5.6.2).
_FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Visible ASCII goes as it is, but for "%" (so that decoding is exact) and, in a list, its comma.
_BARE_IN_LIST: Final = "".join(map(chr, range(0x21, 0x7F))).replace("%", "").replace(",", "")
_BARE: Final = _BARE_IN_LIST + ","


class IdentityFields:
    """Renders the identity fields under the names of the settings."""

    __slots__ = ("_roles", "_tenant", "_user")

    def __init__(self, names: Identity) -> None:
        """Take the names.

        Raises:
            ValueError: if one is not a field name.
        """
        self._user = _field(names.user)
        self._tenant = _field(names.tenant)
        self._roles = _field(names.roles)

    def render(self, tenant: str, subject: str, roles: tuple[str, ...]) -> bytes:
        """The fields, each ended by CRLF; an empty list of roles is left out.

        Whatever is not visible ASCII is percent-encoded as UTF-8, so no name can end a field.
        """
        lines = []
        if self._user:
            lines.append(self._user + _encoded(subject, _BARE))
        if self._tenant:
            lines.append(self._tenant + _encoded(tenant, _BARE))
        if self._roles and roles:
            lines.append(self._roles + b",".join(_encoded(role, _BARE_IN_LIST) for role in roles))
        return b"".join(line + b"\r\n" for line in lines)


def principal_of(fact: Proof, roles: tuple[str, ...] = (), identity: bytes = b"") -> Principal:
    """The principal that `fact` shows. Without roles and identity: good for refusals."""
    if isinstance(fact, Session):
        credential, session_id = "session", fact.id
    elif isinstance(fact, VerifiedToken):
        credential, session_id = "token", ""
    else:
        credential, session_id = "certificate", ""
    return Principal(
        tenant=fact.tenant,
        subject=fact.subject,
        roles=roles,
        credential=credential,
        session_id=session_id,
        expires_at=fact.expires_at,
        identity=identity,
    )


def _field(name: str | None) -> bytes:
    if name is None:
        return b""
    if _FIELD_NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not a field name (RFC 9110 section 5.1)")
    return name.encode("ascii") + b": "


def _encoded(value: str, bare: str) -> bytes:
    # A lone surrogate cannot come from the stores and is refused in tokens; were there one all the
    # same, it would be encoded like anything else.
    return quote(value, safe=bare, errors="surrogatepass").encode("ascii")

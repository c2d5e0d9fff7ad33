"""The claims of a JWT whose signature is right: which are required, and what they may hold.

RFC 7519 section 4.1, RFC 9068 section 4, RFC 8693 section 4.2 (`scope`).
"""

import math
import unicodedata
from typing import Any, Final

from sidecar.model.decision import Denial
from sidecar.model.facts import VerifiedToken
from sidecar.model.reason import Reason
from sidecar.settings.schema import Issuer

LONGEST_SUBJECT: Final = 255
_MOST_ROLES: Final = 256
# Control characters and lone surrogates: neither belongs into a field, a log or a store.
_NOT_IN_NAMES: Final = frozenset({"Cc", "Cs"})


class _InvalidError(ValueError):
    def __init__(self, detail: str, reason: Reason = Reason.INVALID_CLAIMS) -> None:
        super().__init__(detail)
        self.reason = reason


def read_claims(
    payload: dict[str, Any], issuer: Issuer, key_id: str, now: float
) -> VerifiedToken | Denial:
    """Check the claims and keep what decisions use.

    Args:
        payload: all claims; `iss` is already known to be the issuer's.
        issuer: its settings.
        key_id: the key that verified the signature.
        now: wall-clock instant.
    """
    try:
        token = VerifiedToken(
            issuer=issuer.issuer,
            key_id=key_id,
            tenant=_tenant(payload, issuer),
            subject=_subject(payload, issuer),
            expires_at=_instant(payload, "exp", required=True),
            not_before=_instant(payload, "nbf"),
            audiences=_audiences(payload, issuer),
            scopes=_scopes(payload),
            roles=_roles(payload, issuer),
            known_users_only=issuer.known_users_only,
        )
        issued_at = _instant(payload, "iat")
    except _InvalidError as wrong:
        return Denial(wrong.reason, str(wrong))
    if issued_at > now + issuer.leeway_seconds:
        return Denial(Reason.TOKEN_NOT_YET_VALID, "issued in the future")
    return check_time(token, now, issuer.leeway_seconds) or token


def check_time(token: VerifiedToken, now: float, leeway: float) -> Denial | None:
    """Whether the token is valid at the wall-clock instant `now`; checked at every use of it."""
    if now >= token.expires_at + leeway:
        return Denial(Reason.TOKEN_EXPIRED, "exp has passed")
    if now < token.not_before - leeway:
        return Denial(Reason.TOKEN_NOT_YET_VALID, "nbf is to come")
    return None


def _instant(payload: dict[str, Any], name: str, *, required: bool = False) -> float:
    """A NumericDate (RFC 7519 section 2); 0 where it is absent."""
    value = payload.get(name)
    if value is None and name not in payload and not required:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _InvalidError(f"{name} is missing or not a number")
    try:
        instant = float(value)
    except OverflowError:
        instant = math.inf
    if not 0 <= instant < math.inf:
        raise _InvalidError(f"{name} is not an instant")
    return instant


def _audiences(payload: dict[str, Any], issuer: Issuer) -> frozenset[str]:
    value = payload.get("aud")
    audiences = frozenset([value] if isinstance(value, str) else _strings(value, "aud"))
    if audiences.isdisjoint(issuer.audiences):
        raise _InvalidError("aud names none of ours", Reason.WRONG_AUDIENCE)
    return audiences


def _subject(payload: dict[str, Any], issuer: Issuer) -> str:
    subject = payload.get("sub")
    if not isinstance(subject, str) or not subject:
        raise _InvalidError("sub is missing or not a string")
    subject = issuer.subject_prefix + subject
    if len(subject) > LONGEST_SUBJECT or not _is_name(subject):
        raise _InvalidError("sub is longer than 255 characters or holds control characters")
    return subject


def _tenant(payload: dict[str, Any], issuer: Issuer) -> str:
    if issuer.tenant_claim is not None:
        claimed = payload.get(issuer.tenant_claim)
        if isinstance(claimed, str) and claimed in issuer.tenants:
            return claimed
        raise _InvalidError("the tenant claim names none of the issuer's", Reason.WRONG_TENANT)
    if not issuer.tenant:
        raise _InvalidError("the issuer's settings name no tenant", Reason.WRONG_TENANT)
    return issuer.tenant


def _scopes(payload: dict[str, Any]) -> frozenset[str]:
    scope = payload.get("scope", "")
    if not isinstance(scope, str):
        raise _InvalidError("scope is not a string")
    return frozenset(scope.split(" ")) - {""}


def _roles(payload: dict[str, Any], issuer: Issuer) -> tuple[str, ...]:
    if issuer.roles_claim is None:
        return ()
    value = _pointed(payload, issuer.roles_claim)
    if value is None:
        return ()
    roles = _strings(value, "the roles claim")
    if len(roles) > _MOST_ROLES or not all(role and _is_name(role) for role in roles):
        raise _InvalidError("the roles claim holds too many roles, or no names")
    return tuple(sorted(set(roles)))


def _pointed(document: Any, pointer: str) -> Any:
    """What a JSON pointer points at, or None (RFC 6901; ``/https:~1~1example.org~1roles``)."""
    if pointer and not pointer.startswith("/"):
        return None
    for written in pointer.split("/")[1:]:
        name = written.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and name.isascii() and name.isdigit():
            document = document[int(name)] if int(name) < len(document) else None
        else:
            return None
    return document


def _strings(value: Any, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _InvalidError(f"{name} is missing or not a list of strings")
    return value


def _is_name(text: str) -> bool:
    return not any(unicodedata.category(character) in _NOT_IN_NAMES for character in text)

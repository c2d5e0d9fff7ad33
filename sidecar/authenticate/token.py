"""Verifies a JWT: form, issuer, algorithm, key, signature, claims, in that order (RFC 8725).

joserfc supplies the algorithms and nothing else: its `decode` looks at no claim and no `typ`, lets
a missing `exp` pass, takes the last of duplicate names and recurses without bound on nested JSON.
So the three parts are read here, strictly, and the same reading is what is verified.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, Final

from joserfc.jws import JWSRegistry

from sidecar.authenticate.claims import read_claims
from sidecar.authenticate.credential import LONGEST_TOKEN
from sidecar.authenticate.keys import KeySet, VerificationKey
from sidecar.model.decision import Denial
from sidecar.model.facts import VerifiedToken
from sidecar.model.reason import Reason
from sidecar.settings.schema import Issuer

# Parameters that would have us fetch or believe a key the token brings along (RFC 8725 sections
# 3.10 and 3.5), or that change what is signed or how it is read.
_FORBIDDEN: Final = ("jku", "x5u", "jwk", "x5c", "crit", "zip", "b64")
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+")


class _MalformedError(ValueError):
    pass


def verify(
    compact: str, issuers: Mapping[str, Issuer], keysets: Mapping[str, KeySet], now: float
) -> VerifiedToken | Denial:
    """Verify a compact JWS and its claims.

    Args:
        compact: the token.
        issuers: settings by `iss`.
        keysets: keys by `iss`; an issuer without an entry has none yet.
        now: wall-clock instant.

    Returns:
        The claims that decisions use; or why it was refused. `UNKNOWN_KEY` and `KEYS_UNAVAILABLE`
        may change once the keys are fetched anew.
    """
    if len(compact) > LONGEST_TOKEN:
        return _malformed("too long")
    try:
        header, payload, signature = _parts(compact)
    except _MalformedError as wrong:
        return _malformed(str(wrong))
    issuer = issuers.get(claimed) if isinstance(claimed := payload.get("iss"), str) else None
    if issuer is None:
        return Denial(Reason.UNKNOWN_ISSUER, "no configured issuer has this iss")
    refused = _check_header(header, issuer)
    if refused is not None:
        return refused
    key = _choose_key(header, keysets.get(issuer.issuer))
    if isinstance(key, Denial):
        return key
    algorithm = header["alg"]
    if algorithm not in key.algorithms:
        return Denial(Reason.ALGORITHM_NOT_ALLOWED, "the key is not for this algorithm")
    if not _is_signed(compact, algorithm, key, signature):
        return Denial(Reason.BAD_SIGNATURE, "the signature does not match")
    return read_claims(payload, issuer, key.key_id, now)


def _parts(compact: str) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    parts = compact.split(".")
    if len(parts) != 3:
        raise _MalformedError("not three parts")
    header, payload, signature = (_decoded(part) for part in parts)
    return _object(header), _object(payload), signature


def _decoded(part: str) -> bytes:
    """Base64url without padding, in its only encoding (RFC 7515 section 2)."""
    if _BASE64URL.fullmatch(part) is None or len(part) % 4 == 1:
        raise _MalformedError("not base64url")
    plain = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if urlsafe_b64encode(plain).rstrip(b"=").decode("ascii") != part:
        raise _MalformedError("base64url with bits left over")
    return plain


def _object(plain: bytes) -> dict[str, Any]:
    """A JSON object without duplicate names (RFC 7519 section 4) and without NaN."""
    try:
        found = json.loads(
            plain.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except _MalformedError:
        raise
    except (ValueError, RecursionError) as wrong:
        raise _MalformedError("not JSON, or nested too deep") from wrong
    if not isinstance(found, dict):
        raise _MalformedError("not a JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _MalformedError("a name occurs twice")
    return found


def _no_constant(name: str) -> float:
    raise _MalformedError(f"{name} is not JSON")


def _check_header(header: dict[str, Any], issuer: Issuer) -> Denial | None:
    for name in _FORBIDDEN:
        if name in header:
            return _malformed(f"the header has {name}")
    if header.get("alg") not in issuer.algorithms:
        return Denial(Reason.ALGORITHM_NOT_ALLOWED, "not an algorithm of this issuer")
    kind = header.get("typ", "")
    if not isinstance(kind, str) or _type(kind) not in {_type(each) for each in issuer.types}:
        return Denial(Reason.INVALID_CLAIMS, "typ is not one this issuer's tokens have")
    return None


def _type(written: str) -> str:
    """RFC 7515 section 4.1.9: ``application/`` may be left out; media types ignore case."""
    return written.lower().removeprefix("application/")


def _choose_key(header: dict[str, Any], keyset: KeySet | None) -> VerificationKey | Denial:
    if keyset is None:
        return Denial(Reason.KEYS_UNAVAILABLE, "the issuer's keys were not fetched yet")
    key_id = header.get("kid")
    if key_id is None:
        if len(keyset.keys) == 1:
            return next(iter(keyset.keys.values()))
        return Denial(Reason.UNKNOWN_KEY, "no kid, and the issuer has not exactly one key")
    key = keyset.keys.get(key_id) if isinstance(key_id, str) else None
    if key is None:
        return Denial(Reason.UNKNOWN_KEY, "the issuer has no usable key of this kid")
    return key


def _is_signed(compact: str, algorithm: str, key: VerificationKey, signature: bytes) -> bool:
    # The registry's models, not its `get_alg`: the allow-list is ours, and it warns for EdDSA. That
    # the key suits the algorithm was settled when it was loaded (`VerificationKey.algorithms`).
    model = JWSRegistry.algorithms[algorithm]
    signed = compact.rpartition(".")[0].encode("ascii")
    return model.verify(signed, signature, key.key)


def _malformed(detail: str) -> Denial:
    return Denial(Reason.MALFORMED_CREDENTIAL, detail)

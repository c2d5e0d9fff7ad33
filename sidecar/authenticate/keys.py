"""The public keys of an issuer, checked when they are loaded (RFC 7517, RFC 7518, RFC 8037).

The library takes RSA keys of 1024 bits, symmetric and private keys; we do not. A key that is
refused is left out and named; the rest of the set stays usable.
"""

import warnings
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

Key = RSAKey | ECKey | OKPKey

MOST_KEYS: Final = 64
# NIST SP 800-131A revision 2, section 3: below 2048 bits is disallowed; above 8192 a signature
# costs us more than the client.
_RSA_BITS: Final = (2048, 8192)
_LONGEST_KEY_ID: Final = 255
_RSA_ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
# (kty, crv) -> algorithms (RFC 7518 section 3.4, RFC 9864 section 2.2).
_CURVE_ALGORITHMS: Final = {
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"Ed25519", "EdDSA"}),
}
_TYPES: Final[dict[str, type[Key]]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
# Parameters that only private keys have (RFC 7518 sections 6.2.2 and 6.3.2).
_PRIVATE: Final = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


class KeysError(ValueError):
    """Not a JWK set at all, or one beyond the bounds."""


class VerificationKey(msgspec.Struct, frozen=True):
    """A key and what it may verify.

    Attributes:
        key_id: `kid`; ``""`` for a key without.
        key: the public key.
        algorithms: never empty.
    """

    key_id: str
    key: Key
    algorithms: frozenset[str]


class KeySet(msgspec.Struct, frozen=True):
    """The usable keys of one issuer.

    Attributes:
        issuer: the `iss` whose tokens they verify.
        keys: by `kid`.
        fetched: wall-clock instant of the fetch.
        refused: for operators: which keys were left out, and why.
    """

    issuer: str
    keys: Mapping[str, VerificationKey]
    fetched: float
    refused: tuple[str, ...] = ()


class _RefusedError(ValueError):
    pass


def parse_jwks(
    document: bytes | Mapping[str, Any],
    algorithms: Collection[str],
    *,
    issuer: str = "",
    fetched: float = 0.0,
) -> KeySet:
    """Read a JWK set (RFC 7517 section 5).

    Args:
        document: the document, as bytes or decoded.
        algorithms: what the issuer may sign with; a key for none of them is left out.
        issuer: its `iss`.
        fetched: wall-clock instant of the fetch.

    Raises:
        KeysError: if it is not a JWK set, or has more than 64 keys.
    """
    entries = _entries(document)
    keys: dict[str, VerificationKey] = {}
    refused: list[str] = []
    ambiguous: set[str] = set()
    for place, entry in enumerate(entries):
        try:
            key = _verification_key(entry, frozenset(algorithms))
        except _RefusedError as reason:
            refused.append(f"keys[{place}]: {reason}")
            continue
        if key.key_id in keys or key.key_id in ambiguous:
            # Which of them a token means is anybody's guess, so none is used.
            refused.append(f"keys[{place}]: a key id that another key has too; neither is used")
            ambiguous.add(key.key_id)
            keys.pop(key.key_id, None)
            continue
        keys[key.key_id] = key
    return KeySet(issuer, keys, fetched, tuple(refused))


def _entries(document: bytes | Mapping[str, Any]) -> list[Any]:
    if isinstance(document, bytes):
        try:
            document = msgspec.json.decode(document)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as broken:
            raise KeysError("not JSON") from broken
    entries = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(entries, list):
        raise KeysError("no list of keys")
    if len(entries) > MOST_KEYS:
        raise KeysError(f"more than {MOST_KEYS} keys")
    return entries


def _verification_key(entry: Any, allowed: frozenset[str]) -> VerificationKey:
    if not isinstance(entry, dict):
        raise _RefusedError("not an object")
    kind = entry.get("kty")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise _RefusedError("not an asymmetric key of type RSA, EC or OKP")
    if any(name in entry for name in _PRIVATE):
        raise _RefusedError("a private key: whoever published it must replace it")
    key_id = entry.get("kid", "")
    if not isinstance(key_id, str) or len(key_id) > _LONGEST_KEY_ID:
        raise _RefusedError("the key id is not a string of at most 255 characters")
    algorithms = _algorithms(entry, kind) & allowed
    if not algorithms:
        raise _RefusedError("for none of the algorithms this issuer may use")
    return VerificationKey(key_id, _import(entry, kind), algorithms)


def _algorithms(entry: dict[str, Any], kind: str) -> frozenset[str]:
    if entry.get("use", "sig") != "sig":
        raise _RefusedError("not for signatures (use)")
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise _RefusedError("not for verifying (key_ops)")
    possible = _RSA_ALGORITHMS
    if kind != "RSA":
        curve = entry.get("crv")
        possible = _CURVE_ALGORITHMS.get((kind, str(curve)), frozenset())
    if "alg" not in entry:
        return possible
    return possible & {str(entry["alg"])}


def _import(entry: dict[str, Any], kind: str) -> Key:
    # Only what makes the key: the rest was judged above, and the library would judge it again.
    public: dict[str, Any] = {
        name: entry[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in entry
    }
    try:
        with warnings.catch_warnings():
            # Of short keys, which are refused below.
            warnings.simplefilter("ignore", SecurityWarning)
            key = _TYPES[kind].import_key(public)
        bits = key.public_key.key_size if isinstance(key, RSAKey) else None
    except (JoseError, ValueError, TypeError, KeyError) as wrong:
        raise _RefusedError("not a valid key") from wrong
    if bits is not None and not _RSA_BITS[0] <= bits <= _RSA_BITS[1]:
        raise _RefusedError(f"RSA with {bits} bits; accepted are {_RSA_BITS[0]} to {_RSA_BITS[1]}")
    return key

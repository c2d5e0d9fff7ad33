"""Opaque session tokens: ``scs1_`` + 44 characters + ``_`` + 16 characters.

The 44 are base64url of 33 bytes: the shard, then 256 random bits, which is all that makes a token
hard to guess. The 16 are a keyed BLAKE2b over what is before them, truncated to 96 bits: it does
not make a token valid, it lets a flood of invented ones be refused without asking a store. The
prefix lets secret scanners find leaks. Both lengths are multiples of three bytes, so there is one
encoding of each token and no padding.

Keys are derived here from the deployment's one secret, each for its own purpose (domain
separation by BLAKE2's ``person``, RFC 7693 section 2.8).
"""

import hmac
import re
from base64 import urlsafe_b64encode
from hashlib import blake2b, sha256
from typing import Final

PREFIX: Final = "scs1_"
TOKEN_CHARACTERS: Final = 66
RANDOM_BYTES: Final = 32
_MAC_BYTES: Final = 12
_SIGNED_CHARACTERS: Final = 49
_SHAPE: Final = re.compile(r"scs1_[A-Za-z0-9_-]{44}_[A-Za-z0-9_-]{16}")
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_SEXTET: Final = {character: value for value, character in enumerate(_ALPHABET)}


def signing_key(secret: str) -> bytes:
    """The key that signs session tokens, from the settings' ``token_key``."""
    return _derive(secret, b"sidecar-session")


def digest_key(secret: str) -> bytes:
    """The key of the digests under which verified tokens lie in memory."""
    return _derive(secret, b"sidecar-digest")


def mint(shard: int, random: bytes, key: bytes) -> str:
    """Make a token.

    Args:
        shard: 0 to 255.
        random: 32 bytes from a cryptographic source.
        key: from `signing_key`.

    Raises:
        ValueError: if `shard` or `random` is not that.
    """
    if len(random) != RANDOM_BYTES:
        raise ValueError("a session token needs exactly 32 random bytes")
    signed = PREFIX + urlsafe_b64encode(bytes((shard,)) + random).decode("ascii")
    return f"{signed}_{_mac(signed, key)}"


def digest(token: str) -> bytes:
    """SHA-256 of the token: its name in memory and in the stores, which never see itself."""
    return sha256(token.encode("ascii")).digest()


def check(token: str, key: bytes) -> int | None:
    """The shard of a token that `key` signed; None for anything else. Constant-time comparison."""
    if len(token) != TOKEN_CHARACTERS or _SHAPE.fullmatch(token) is None:
        return None
    if not hmac.compare_digest(_mac(token[:_SIGNED_CHARACTERS], key), token[-16:]):
        return None
    # The first byte: all of the first sextet and a third of the second.
    return _SEXTET[token[5]] << 2 | _SEXTET[token[6]] >> 4


def _mac(signed: str, key: bytes) -> str:
    mac = blake2b(signed.encode("ascii"), key=key, digest_size=_MAC_BYTES).digest()
    return urlsafe_b64encode(mac).decode("ascii")


def _derive(secret: str, purpose: bytes) -> bytes:
    return blake2b(secret.encode(), person=purpose, digest_size=32).digest()

"""Keys and tokens for tests. RSA keys are made once: each costs a tenth of a second."""

import json
import warnings
from base64 import urlsafe_b64encode
from functools import cache
from typing import Any

from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

Key = RSAKey | ECKey | OKPKey


@cache
def rsa(bits: int = 2048, number: int = 0) -> RSAKey:
    del number
    with warnings.catch_warnings():
        # Short keys are made on purpose, to be refused.
        warnings.simplefilter("ignore", SecurityWarning)
        return RSAKey.generate_key(bits)


@cache
def elliptic(curve: Any = "P-256") -> ECKey:
    return ECKey.generate_key(curve)


@cache
def edwards(curve: Any = "Ed25519") -> OKPKey:
    return OKPKey.generate_key(curve)


def public(key: Key, **parameters: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), **parameters}


def encoded(content: bytes | str | dict[str, Any]) -> str:
    if isinstance(content, dict):
        content = json.dumps(content)
    if isinstance(content, str):
        content = content.encode()
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def signed(
    key: Key,
    header: str | dict[str, Any],
    payload: bytes | str | dict[str, Any],
    algorithm: str | None = None,
) -> str:
    """A compact JWS of exactly these bytes, well-formed or not."""
    model = JWSRegistry.algorithms[algorithm or (header["alg"] if isinstance(header, dict) else "")]
    content = f"{encoded(header)}.{encoded(payload)}"
    return f"{content}.{encoded(model.sign(content.encode(), key))}"

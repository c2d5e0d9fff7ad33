"""The workload, the same bytes for each peer: tokens, requests, the answer.

1000 different RS256 tokens of about 700 bytes, 15 browser-like fields, a small JSON answer.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from perf.tls import self_signed

ISSUER = "https://login.example.com"
AUDIENCE = "orders"
TENANT = "bench"
HOST = "orders.example.com"
PATH = "/api/orders"
PERMISSION = "orders:read"
TOKENS = 1_000
# Known, but without any role.
OUTSIDER = "outsider"
LIFETIME_SECONDS = 86_400

BODY = json.dumps(
    {"orders": [{"id": str(n), "item": "espresso beans", "quantity": n} for n in range(4)]}
).encode()

# What Chromium sends with a fetch(), and the cookies of an application behind the proxy.
_FIELDS = f"""\
Host: {HOST}
Connection: keep-alive
sec-ch-ua-platform: "Linux"
Authorization: Bearer {{token}}
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
Chrome/147.0.0.0 Safari/537.36
Accept: application/json, text/plain, */*
sec-ch-ua: "Chromium";v="147", "Not.A/Brand";v="8"
sec-ch-ua-mobile: ?0
Sec-Fetch-Site: same-origin
Sec-Fetch-Mode: cors
Sec-Fetch-Dest: empty
Referer: https://orders.example.com/orders?page=2
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-GB,en;q=0.9
Cookie: theme=dark; locale=en-GB; _app=Zm9vYmFyYmF6cXV4
"""


def subject(number: int) -> str:
    """The user of the token with this number."""
    return f"user-{number:04}"


def email(user: str) -> str:
    """The address in a user's token."""
    return f"{user}@example.com"


class Fault(Enum):
    """What is wrong with a request."""

    ANONYMOUS = "anonymous"
    UNBELIEVABLE = "unbelievable"
    MISDIRECTED = "misdirected"
    UNPERMITTED = "forbidden"


@dataclass(frozen=True, slots=True)
class Probe:
    """A whole request that a guard must refuse, and why."""

    why: str
    fault: Fault
    request: bytes


@dataclass(frozen=True, slots=True)
class Workload:
    """Files that the processes of a run share.

    Attributes:
        jwks: the issuer's public keys.
        public_key: the same key as PEM (SubjectPublicKeyInfo).
        certificate: of the listeners that speak TLS, for `HOST`; PEM.
        private_key: of the certificate; PEM.
        requests: one JSON list of texts: the whole requests, one for each token.
        sound: a request that every proxy lets pass.
        probes: requests that a guard must refuse.
        tokens: the bare tokens.
        outsider: a token of a user without permissions.
    """

    jwks: Path
    public_key: Path
    certificate: Path
    private_key: Path
    requests: Path
    sound: bytes
    probes: tuple[Probe, ...]
    tokens: tuple[str, ...]
    outsider: str


def prepared(folder: Path) -> Workload:
    """Makes a key, the tokens and the requests, and writes them to the folder."""
    key = RSAKey.generate_key(2048, {"kid": "bench-2026-11", "use": "sig", "alg": "RS256"})
    jwks, public_key = folder / "jwks.json", folder / "issuer.pem"
    jwks.write_text(json.dumps(KeySet([key]).as_dict(private=False)))
    public_key.write_bytes(key.as_pem(private=False))
    certificate, private_key = self_signed(folder, HOST)
    tokens = tuple(_token(key, subject(number)) for number in range(TOKENS))
    outsider = _token(key, OUTSIDER)
    requests = folder / "requests.json"
    requests.write_text(json.dumps([request(token).decode() for token in tokens]))
    return Workload(
        jwks=jwks,
        public_key=public_key,
        certificate=certificate,
        private_key=private_key,
        requests=requests,
        sound=request(tokens[0]),
        probes=_probes(key, tokens[0], outsider),
        tokens=tokens,
        outsider=outsider,
    )


def _probes(key: RSAKey, sound: str, outsider: str) -> tuple[Probe, ...]:
    # The last place of a signature has bits that do not count: break one in the middle.
    forged = sound[:-20] + ("A" if sound[-20] != "A" else "B") + sound[-19:]
    past = int(time.time()) - 3_600
    bad = {
        "a forged signature": forged,
        "an expired token": _token(key, subject(0), {"iat": past - 60, "exp": past}),
        "another issuer": _token(key, subject(0), {"iss": "https://login.example.net"}),
    }
    misdirected = _token(key, subject(0), {"aud": "invoices"})
    return (
        Probe("no token", Fault.ANONYMOUS, request(None)),
        *(Probe(why, Fault.UNBELIEVABLE, request(token)) for why, token in bad.items()),
        Probe("a token for another audience", Fault.MISDIRECTED, request(misdirected)),
        Probe("a user without the permission", Fault.UNPERMITTED, request(outsider)),
    )


def _token(key: RSAKey, user: str, changed: Mapping[str, str | int] | None = None) -> str:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user,
        "iat": now,
        "exp": now + LIFETIME_SECONDS,
        "jti": f"6f1e2c9a-7b54-4d0f-9a3e-{user:->12.12}",
        "email": email(user),
        "scope": "openid profile email",
        "sid": "b7c1f2d4e9",
        **(changed or {}),
    }
    return jwt.encode({"alg": "RS256", "typ": "at+jwt", "kid": key.kid or ""}, claims, key)


def request(token: str | None) -> bytes:
    """The request with this token, or without any."""
    fields = _FIELDS.format(token=token)
    if token is None:
        fields = fields.replace("Authorization: Bearer None\n", "")
    return f"GET {PATH} HTTP/1.1\n{fields}\n".replace("\n", "\r\n").encode()

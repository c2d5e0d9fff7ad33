"""The workload, the same bytes for each peer: tokens, requests, the answer.

1000 different RS256 tokens of about 700 bytes, 15 browser-like fields, a small JSON answer.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

ISSUER = "https://login.example.com"
AUDIENCE = "orders"
TENANT = "bench"
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
_FIELDS = """\
Host: orders.example.com
Connection: keep-alive
sec-ch-ua-platform: "Linux"
Authorization: Bearer {token}
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


@dataclass(frozen=True, slots=True)
class Workload:
    """Files that the processes of a run share.

    Attributes:
        jwks: the issuer's public keys.
        requests: one JSON list of texts: the whole requests, one for each token.
        probes: requests that a guard must refuse: why, the status, the request.
    """

    jwks: Path
    requests: Path
    probes: tuple[tuple[str, int, bytes], ...]


def prepared(folder: Path) -> Workload:
    """Makes a key, the tokens and the requests, and writes them to the folder."""
    key = RSAKey.generate_key(2048, {"kid": "bench-2026-11", "use": "sig", "alg": "RS256"})
    jwks = folder / "jwks.json"
    jwks.write_text(json.dumps(KeySet([key]).as_dict(private=False)))
    tokens = [_token(key, subject(number)) for number in range(TOKENS)]
    requests = folder / "requests.json"
    requests.write_text(json.dumps([_request(token).decode() for token in tokens]))
    # The last place of a signature has bits that do not count: break one in the middle.
    forged = tokens[0][:-20] + ("A" if tokens[0][-20] != "A" else "B") + tokens[0][-19:]
    anonymous = _request("").replace(b"Authorization: Bearer \r\n", b"")
    probes = (
        ("no token", 401, anonymous),
        ("a forged signature", 401, _request(forged)),
        ("a user without the permission", 403, _request(_token(key, OUTSIDER))),
    )
    return Workload(jwks, requests, probes)


def _token(key: RSAKey, user: str) -> str:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user,
        "iat": now,
        "exp": now + LIFETIME_SECONDS,
        "jti": f"6f1e2c9a-7b54-4d0f-9a3e-{user:->12.12}",
        "email": f"{user}@example.com",
        "scope": "openid profile email",
        "sid": "b7c1f2d4e9",
    }
    return jwt.encode({"alg": "RS256", "typ": "at+jwt", "kid": key.kid or ""}, claims, key)


def _request(token: str) -> bytes:
    fields = _FIELDS.format(token=token).replace("\n", "\r\n")
    return f"GET {PATH} HTTP/1.1\r\n{fields}\r\n".encode()

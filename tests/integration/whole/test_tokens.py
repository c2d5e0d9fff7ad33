"""JWTs through the whole sidecar: a real issuer's key set over HTTP, rotated and removed."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from sidecar.model.facts import Status
from sidecar.settings.schema import Postgres
from sidecar.store.pool import Pool
from sidecar.store.tenants import Tenants
from tests.integration.whole.conftest import KEY, Start

ISSUER = "https://login.example"


class IssuerServer:
    """An issuer with keys that change."""

    def __init__(self) -> None:
        self.first = RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})
        self.second = ECKey.generate_key("P-256", {"kid": "second", "use": "sig"})
        self.published: list[Any] = [self.first]
        self.fetches = 0
        self.url = ""

    async def keys(self, _request: web.Request) -> web.Response:
        self.fetches += 1
        return web.json_response(KeySet(self.published).as_dict(private=False))

    def token(self, key: Any = None, **claims: Any) -> str:
        key = key or self.first
        now = int(time.time())
        payload = {"iss": ISSUER, "aud": "orders", "sub": "bob", "exp": now + 600} | claims
        algorithm = "RS256" if key is self.first else "ES256"
        header = {"alg": algorithm, "kid": key.kid, "typ": "at+jwt"}
        return jwt.encode(header, payload, key, algorithms=[algorithm])

    def settings(self, **more: Any) -> dict[str, Any]:
        issuer: dict[str, Any] = {
            "issuer": ISSUER,
            "audiences": ["orders"],
            "algorithms": ["RS256", "ES256"],
            "tenant": "demo",
            "jwks": {"url": self.url, "refresh_seconds": 3600.0, "unknown_key_seconds": 0.05},
        }
        return {"token_key": KEY, "issuers": [issuer | more]}


@asynccontextmanager
async def issuing() -> AsyncIterator[IssuerServer]:
    server = IssuerServer()
    app = web.Application()
    app.router.add_get("/keys", server.keys)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    try:
        yield server
    finally:
        await runner.cleanup()


async def test_a_token_has_the_permissions_of_its_user(start: Start) -> None:
    async with issuing() as issuer, start(credentials=issuer.settings()) as whole:
        token = issuer.token()
        for _ in range(2):  # verified, then from memory
            assert (await whole.ask(token, "GET", "/api/orders"))[0] == 200
            status, problem = await whole.ask(token, "DELETE", "/api/orders/1")
            assert (status, problem["reason"]) == (403, "not-granted")
        status, me = await whole.ask(token, "GET", "/_sidecar/me")
        assert (me["subject"], me["credential"]) == ("bob", "token")
        assert (await whole.ask(token, "POST", "/_sidecar/sign-out"))[0] == 409


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": 1}, "token-expired"),
        ({"aud": "other"}, "wrong-audience"),
        ({"iss": "https://evil.example"}, "unknown-issuer"),
        ({"sub": "nobody"}, "unknown-user"),
        ({"sub": "mallory"}, "user-disabled"),
        ({"nbf": 4_000_000_000}, "token-not-yet-valid"),
    ],
)
async def test_tokens_that_are_not_accepted(
    start: Start, claims: dict[str, Any], reason: str
) -> None:
    async with issuing() as issuer, start(credentials=issuer.settings()) as whole:
        for _ in range(2):
            status, problem = await whole.ask(issuer.token(**claims), "GET", "/api/orders")
            assert (status, problem["reason"]) == (401, reason)


async def test_a_token_that_expires_in_memory_is_refused(start: Start) -> None:
    """PROMISES 9: from memory the same checks as fresh."""
    async with (
        issuing() as issuer,
        start(credentials=issuer.settings(leeway_seconds=0.0)) as whole,
    ):
        token = issuer.token(exp=int(time.time()) + 2)
        assert (await whole.ask(token, "GET", "/api/orders"))[0] == 200
        async with asyncio.timeout(10):
            while (answer := await whole.ask(token, "GET", "/api/orders"))[0] == 200:
                await asyncio.sleep(0.05)
        assert answer[1]["reason"] == "token-expired"


async def test_new_keys_are_fetched_when_a_token_names_one(start: Start) -> None:
    async with issuing() as issuer, start(credentials=issuer.settings()) as whole:
        assert (await whole.ask(issuer.token(), "GET", "/api/orders"))[0] == 200
        issuer.published = [issuer.second]
        await asyncio.sleep(0.06)
        assert (await whole.ask(issuer.token(issuer.second), "GET", "/api/orders"))[0] == 200
        status, problem = await whole.ask(issuer.token(), "GET", "/api/orders")
        assert (status, problem["reason"]) == (401, "unknown-key"), "the first key is gone"


async def test_random_key_ids_do_not_flood_the_issuer(start: Start) -> None:
    settings_of = {"jwks": {"refresh_seconds": 3600.0, "unknown_key_seconds": 3600.0}}
    async with issuing() as issuer:
        settings_of["jwks"]["url"] = issuer.url  # type: ignore[assignment]  # a document
        async with start(credentials=issuer.settings(**settings_of)) as whole:
            for number in range(20):
                stranger = ECKey.generate_key("P-256", {"kid": f"random-{number}"})
                token = issuer.token(stranger)
                assert (await whole.ask(token, "GET", "/api/orders"))[0] == 401
        assert issuer.fetches <= 2


async def test_an_issuer_that_is_down_is_503_not_401(start: Start) -> None:
    async with issuing() as issuer:
        more = {"jwks": {"url": "http://127.0.0.1:9/keys"}}
        async with start(credentials=issuer.settings(**more)) as whole:
            status, problem = await whole.ask(issuer.token(), "GET", "/api/orders")
            assert (status, problem["reason"]) == (503, "keys-unavailable")
            assert (await whole.ask("alice", "GET", "/api/orders"))[0] == 200


async def test_users_whom_only_the_issuer_knows(start: Start, database: str) -> None:
    more = {"known_users_only": False, "roles_claim": "/roles"}
    async with (
        issuing() as issuer,
        start(credentials=issuer.settings(**more)) as whole,
        Pool(Postgres(dsn=database)) as pool,
    ):
        token = issuer.token(sub="dave", roles=["reader", "no-such-role"])
        assert (await whole.ask(token, "GET", "/api/orders"))[0] == 200
        assert (await whole.ask(token, "POST", "/api/orders", data="{}"))[0] == 403
        # The tenant's end is theirs, too, although no row of theirs says so.
        await Tenants(pool).set_status("demo", Status.DISABLED)
        async with asyncio.timeout(5):
            while (answer := await whole.ask(token, "GET", "/api/orders"))[0] == 200:
                await asyncio.sleep(0.01)
        assert (answer[0], answer[1]["reason"]) == (401, "user-disabled")

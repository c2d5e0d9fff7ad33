"""WebSockets over TLS, of tokens and of certificates."""

from pathlib import Path

import aiohttp
import pytest

from sidecar.demo.tenant import prepare
from sidecar.settings.schema import Postgres
from sidecar.store.pool import Pool
from sidecar.store.users import Users
from tests.certificates import Authority
from tests.integration.whole.conftest import KEY, Start
from tests.integration.whole.sockets import sockets
from tests.integration.whole.test_admin_api import ADMIN, call
from tests.tls_clients import trusting

WORKLOAD = "workload:ns/shop/sa/billing"


async def test_of_tokens_and_of_certificates(start: Start, database: str, tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = authority.server().write(tmp_path, "server")
    tls = {
        "certificate": certificate,
        "key": key,
        "client_ca": authority.write(tmp_path),
        "client_certificate": "optional",
    }
    sections = {
        "listen": {"address": "127.0.0.1:0", "tls": tls, "deadlines": {"drain_seconds": 1.0}},
        "credentials": {
            "token_key": KEY,
            "spiffe": [{"trust_domain": "prod", "tenant": "demo", "subject_prefix": "workload:"}],
        },
        "routes": [
            {"path": "/ws", "access": "authenticated", "websocket": {}},
            {
                "path": "/mesh",
                "access": "authenticated",
                "credential": "certificate",
                "websocket": {},
            },
        ],
        "admin": ADMIN,
    }
    async with Pool(Postgres(dsn=database)) as pool:
        await prepare(pool, KEY, {})
        await Users(pool).create("demo", WORKLOAD)
    leaf = authority.issue(uris=["spiffe://prod/ns/shop/sa/billing"])
    async with sockets(start, **sections) as (whole, app):
        bob = {"Authorization": f"Bearer {whole.tokens['bob']}"}
        anybody = aiohttp.TCPConnector(ssl=trusting(authority))
        workload = aiohttp.TCPConnector(ssl=trusting(authority, leaf, tmp_path))
        async with (
            aiohttp.ClientSession(connector=anybody) as session,
            aiohttp.ClientSession(connector=workload) as mesh,
        ):
            socket = await session.ws_connect(whole.url + "/ws", headers=bob)
            for size in (10, 70_000, 2_000_000):
                await socket.send_str("x" * size)
                assert len(await socket.receive_str()) == size
            here = {"Origin": whole.url}
            known = await mesh.ws_connect(whole.url + "/mesh", headers=here)
            await known.send_str("hello")
            assert await known.receive_str() == "hello"
            assert app.heads[-1]["x-auth-user"] == WORKLOAD
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await mesh.ws_connect(whole.url + "/mesh")
            assert refused.value.status == 403, "browsers have certificates, too"
            await call(whole, "DELETE", "/users/bob/sessions")
            message = await socket.receive()
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401)
            path = f"/users/{WORKLOAD.replace(':', '%3A').replace('/', '%2F')}/status"
            status, told = await call(whole, "PUT", path, {"status": "disabled"})
            assert status == 200, told
            message = await known.receive()
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401)

"""WebSockets through the whole sidecar, with real stores and a real application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.integration.whole.conftest import Start, Whole
from tests.integration.whole.sockets import Application, application

ROUTES: list[dict[str, Any]] = [
    {"path": "/ws", "access": "authenticated", "websocket": {}},
    {"path": "/orders", "permission": "orders:read", "websocket": {}},
    {"path": "/public", "access": "public", "websocket": {}},
    {"path": "/plain", "access": "public"},
]


@asynccontextmanager
async def sockets(start: Start, **sections: Any) -> AsyncIterator[tuple[Whole, Application]]:
    async with application() as app:
        more = {"routes": ROUTES} | sections
        async with start(upstreams={"app": {"url": app.url}}, **more) as whole:
            yield whole, app


async def test_messages_go_both_ways(start: Start) -> None:
    async with sockets(start) as (whole, app):
        fields = {"Authorization": f"Bearer {whole.tokens['alice']}"}
        async with whole.session.ws_connect(whole.url + "/ws", headers=fields) as socket:
            for message in ("hello", "x" * 200, "y" * 70_000):
                await socket.send_str(message)
                assert await socket.receive_str() == message
            await socket.send_bytes(b"\x00\xff")
            assert await socket.receive_bytes() == b"\x00\xff"
        assert app.closes == [1000]
        assert app.heads[0]["x-auth-user"] == "alice"
        assert "authorization" not in app.heads[0]

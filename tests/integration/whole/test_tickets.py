"""One-time tickets: issued to a page, redeemed once, on any sidecar, in the handshake meant."""

import asyncio
from typing import Any

import pytest

from tests.integration.whole.conftest import KEY, Start, Whole
from tests.integration.whole.sockets import Application, Peer, sockets
from tests.unit.relay.wire import TEXT

PAGE = "http://app.example"


async def ask(whole: Whole, path: str = "/ws", **fields: str) -> tuple[int, Any]:
    """Ask for a ticket as a page does; its fields, written with `_` for `-`."""
    headers = {
        "Host": "app.example",
        "Cookie": f"sidecar_session={whole.tokens['bob']}",
        "Origin": PAGE,
    }
    headers |= {name.replace("_", "-"): value for name, value in fields.items()}
    async with whole.session.post(
        whole.url + "/_sidecar/tickets",
        json={"path": path},
        headers={name: value for name, value in headers.items() if value},
    ) as answer:
        body = await answer.json() if answer.status == 201 else await answer.text()
        return answer.status, body


async def ticket(whole: Whole, path: str = "/ws", **fields: str) -> str:
    status, body = await ask(whole, path, **fields)
    assert status == 201, body
    assert (body["parameter"], body["expires_in"]) == ("sidecar_ticket", 30.0)
    return str(body["ticket"])


async def shake(whole: Whole, target: str, *fields: str) -> int:
    peer = await Peer.connect(whole.url)
    return int((await peer.open(target, *fields))[9:12])


async def test_it_is_good_once_and_goes_nowhere(start: Start) -> None:
    async with sockets(start) as (whole, app):
        paper = await ticket(whole)
        peer = await Peer.connect(whole.url)
        head = await peer.open(f"/ws?a=1&sidecar_ticket={paper}", f"Origin: {PAGE}")
        assert head.startswith(b"HTTP/1.1 101 ")
        await peer.text("hello")
        assert await peer.frame() == (TEXT, b"hello")
        assert app.targets == ["/ws?a=1"]
        assert app.heads[0]["x-auth-user"] == "bob"
        again = await shake(whole, f"/ws?sidecar_ticket={paper}", f"Origin: {PAGE}")
        assert again == 401


async def test_another_sidecar_redeems_it(start: Start) -> None:
    async with sockets(start) as (first, _), sockets(start) as (second, _app):
        for issuer, redeemer in ((first, second), (second, first)):
            paper = await ticket(issuer)
            assert await shake(redeemer, f"/ws?sidecar_ticket={paper}", f"Origin: {PAGE}") == 101
            assert await shake(issuer, f"/ws?sidecar_ticket={paper}", f"Origin: {PAGE}") == 401


async def test_it_is_bound_to_path_host_and_page(start: Start) -> None:
    async with sockets(start) as (whole, _app):
        for target, fields in (
            ("/listed", (f"Origin: {PAGE}",)),
            ("/ws", ()),
            ("/ws", ("Origin: http://evil.example",)),
            ("/ws", (f"Origin: {PAGE}", f"Origin: {PAGE}")),
        ):
            paper = await ticket(whole)
            assert await shake(whole, f"{target}?sidecar_ticket={paper}", *fields) in {401, 403}
        other = await ticket(whole, Host="other.example", Origin="http://other.example")
        assert (
            await shake(whole, f"/ws?sidecar_ticket={other}", "Origin: http://other.example") == 401
        )
        program = await ticket(whole, Origin="")
        assert await shake(whole, f"/ws?sidecar_ticket={program}") == 101


async def test_beside_other_credentials(start: Start) -> None:
    async with sockets(start) as (whole, _app):
        page = f"Origin: {PAGE}"
        same = f"Cookie: sidecar_session={whole.tokens['bob']}"
        other = f"Cookie: sidecar_session={whole.tokens['alice']}"
        bearer = f"Authorization: Bearer {whole.tokens['alice']}"
        for wanted, fields in ((101, (same,)), (400, (other,)), (400, (bearer,))):
            paper = await ticket(whole)
            assert await shake(whole, f"/ws?sidecar_ticket={paper}", page, *fields) == wanted
        paper = await ticket(whole)
        twice = f"/ws?sidecar_ticket={paper}&sidecar_ticket={paper}"
        assert await shake(whole, twice, page) == 400


async def test_who_gets_none(start: Start) -> None:
    async with sockets(start) as (whole, _app):
        assert (await ask(whole, Cookie=""))[0] == 401
        assert (await ask(whole, Sec_Fetch_Site="cross-site"))[0] == 403
        assert (await ask(whole, Origin="http://evil.example"))[0] == 403
        for path in ("/plain", "/nowhere", "ws", "/ws?x=1", "/a/../ws", "http://app.example/ws"):
            assert (await ask(whole, path))[0] == 409, path
        fields = {"Host": "app.example", "Cookie": f"sidecar_session={whole.tokens['bob']}"}
        async with whole.session.post(
            whole.url + "/_sidecar/tickets", data=b"{", headers=fields
        ) as answer:
            assert answer.status == 400


async def test_an_ended_session_s_ticket_is_worth_nothing(start: Start) -> None:
    async with sockets(start) as (whole, _app):
        paper = await ticket(whole)
        fields = {"Cookie": f"sidecar_session={whole.tokens['bob']}"}
        async with whole.session.post(whole.url + "/_sidecar/sign-out", headers=fields) as answer:
            assert answer.status == 204
        assert await shake(whole, f"/ws?sidecar_ticket={paper}", f"Origin: {PAGE}") == 401


async def test_it_expires(start: Start) -> None:
    short = {"token_key": KEY, "websocket": {"ticket_seconds": 0.05}}
    async with sockets(start, credentials=short) as (whole, _app):
        status, body = await ask(whole)
        assert status == 201
        deadline = asyncio.get_running_loop().time() + 0.06
        while asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        paper = body["ticket"]
        assert await shake(whole, f"/ws?sidecar_ticket={paper}", f"Origin: {PAGE}") == 401


@pytest.mark.parametrize("redis", [None, "redis://127.0.0.1:1"])
async def test_without_redis_only_where_none_is_configured(start: Start, redis: str | None) -> None:
    async def issue_and_redeem(whole: Whole, _app: Application) -> tuple[int, int]:
        status, body = await ask(whole)
        paper = body["ticket"] if status == 201 else "sct1_" + "A" * 44
        return status, await shake(whole, f"/ws?sidecar_ticket={paper}", f"Origin: {PAGE}")

    async with sockets(start, redis=redis) as (whole, app):
        wanted = (201, 101) if redis is None else (503, 503)
        assert await issue_and_redeem(whole, app) == wanted

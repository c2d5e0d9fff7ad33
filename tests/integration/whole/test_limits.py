"""Limits of a whole sidecar: users, metrics, audit records, health."""

import asyncio
import json
from pathlib import Path

from tests.integration.whole.conftest import ROUTES, Start, Whole
from tests.integration.whole.sockets import Peer
from tests.plane import OK, ScriptedUpstream, read_head, request

PER_USER = {"user": {"per": "principal", "requests": 2, "seconds": 60}}


async def test_each_user_has_a_rate(start: Start) -> None:
    async with start(limits={"rates": PER_USER}) as whole:
        found = [(await whole.ask("bob", "GET", "/api/orders"))[0] for _ in range(3)]
        assert found == [200, 200, 429]
        status, answer = await whole.ask("bob", "GET", "/echo")
        assert (status, answer["reason"]) == (429, "principal-rate-exceeded"), "on every route"
        assert (await whole.ask("alice", "GET", "/api/orders"))[0] == 200
        assert [(await whole.ask("", "GET", "/healthz"))[0] for _ in range(5)] == [200] * 5
        assert [(await whole.ask("", "GET", "/api/orders"))[0] for _ in range(5)] == [401] * 5


async def test_what_is_refused_otherwise_is_not_counted(start: Start) -> None:
    async with start(limits={"rates": PER_USER}) as whole:
        found = [(await whole.ask("carol", "DELETE", "/api/orders/1"))[0] for _ in range(4)]
        assert found == [403] * 4
        assert (await whole.ask("carol", "GET", "/api/orders"))[0] == 200


async def test_refusals_are_counted_and_recorded(start: Start) -> None:
    routes = [*ROUTES, {"path": "/dear", "access": "authenticated", "name": "dear",
        "rates": {"all": {"per": "route", "requests": 1, "seconds": 60}}}]  # fmt: skip
    limits = {"rates": {"client": {"per": "address", "requests": 4, "seconds": 60}}}
    async with start(limits=limits, routes=routes) as whole:
        for expected in (404, 429, 200, 200, 429):
            path = "/healthz" if expected == 200 else "/dear"
            assert (await whole.ask("bob", "GET", path))[0] == expected
        line = 'sidecar_requests_total{{reason="{}",route="{}",status="429"}}'
        assert await whole.metric(line.format("route-rate-exceeded", "dear")) == 1
        assert await whole.metric(line.format("address-rate-exceeded", "")) == 1
        assert await whole.metric("sidecar_requests_under_way") == 0


async def test_audit_names_the_user_and_the_route(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    async with start(limits={"rates": PER_USER}, audit={"sink": f"file:{file}"}) as whole:
        for _ in range(3):
            await whole.ask("bob", "GET", "/api/orders")
    records = [json.loads(line) for line in file.read_text().splitlines()]
    refused = [record for record in records if record["status"] == 429]
    assert [(each["reason"], each["subject"], each["outcome"]) for each in refused] == [
        ("principal-rate-exceeded", "bob", "deny")
    ]
    assert refused[0]["route"] == "GET /api/orders"


async def test_health_is_answered_however_busy_it_is(start: Start) -> None:
    async with start(limits={"requests": 1}) as whole:
        fields = {"Authorization": f"Bearer {whole.tokens['bob']}"}
        held = await whole.session.get(whole.url + "/events", headers=fields)
        assert held.status == 200
        status, answer = await whole.ask("", "GET", "/healthz")
        assert (status, answer["reason"]) == (503, "overloaded")
        for path in ("/healthz", "/readyz"):
            async with whole.session.get(whole.admin + path) as health:
                assert health.status == 200
        assert await whole.metric("sidecar_requests_under_way") == 1
        held.close()


async def test_the_state_of_breakers_is_told_and_the_flag_turns_them_off(start: Start) -> None:
    upstreams = {"app": {"url": "http://127.0.0.1:1", "breaker": {"failures": 2}}}
    async with start(upstreams=upstreams) as whole:
        gauge = 'sidecar_upstream_breaker{upstream="app"}'
        found = [(await whole.ask("", "GET", "/healthz"))[0] for _ in range(3)]
        assert found == [502, 502, 503]
        assert await whole.metric(gauge) in {1, 2}
        opened = 'sidecar_upstream_events_total{event="tripped",upstream="app"}'
        assert await whole.metric(opened) >= 1
    async with start(upstreams=upstreams, features={"circuit_breaker": False}) as whole:
        found = [(await whole.ask("", "GET", "/healthz"))[0] for _ in range(5)]
        assert found == [502] * 5


async def test_handshakes_that_fail_keep_no_requests_out_and_the_other_way_round(
    start: Start,
) -> None:
    """An application may be well and not able to do WebSockets."""
    bad = b"upgrade: websocket"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while bad not in (await read_head(reader)).lower():
            writer.write(OK)

    once = {"failures": 1, "open_seconds": 60.0, "longest_open_seconds": 60.0}
    states = [
        f'sidecar_upstream_{which}{{upstream="app"}}' for which in ("handshake_breaker", "breaker")
    ]
    async with ScriptedUpstream(serve) as upstream:
        sections = {
            "upstreams": {"app": {"url": upstream.url, "breaker": once}},
            "routes": [{"path": "/{rest*}", "access": "public", "websocket": {}}],
        }
        async with start(**sections) as whole:
            assert [await _shaken(whole) for _ in range(3)] == [502, 503, 503]
            assert [(await whole.ask("", "GET", "/x"))[0] for _ in range(3)] == [200] * 3
            assert [await whole.metric(each) for each in states] == [2, 0]
        bad = b"get /x"
        async with start(**sections) as whole:
            assert [(await whole.ask("", "GET", "/x"))[0] for _ in range(3)] == [502, 503, 503]
            assert await _shaken(whole) == 200, "it is asked, and does not switch"
            assert [await whole.metric(each) for each in states] == [0, 2]


async def _shaken(whole: Whole) -> int:
    """The status that a handshake gets."""
    peer = await Peer.connect(whole.url)
    head = await peer.open("/ws")
    peer.close()
    return int(head[9:12])


async def test_memory_of_all_clients_is_told_and_who_was_cut_for_it(start: Start) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(bytes(100_000))
            await writer.drain()

    bound = 1_048_576
    cut = 'sidecar_client_connections_shed_total{kept="%s"}'
    listen = {"address": "127.0.0.1:0", "limits": {"buffered_bytes": bound},
        "deadlines": {"drain_seconds": 0.1}}  # fmt: skip
    async with (
        ScriptedUpstream(endless) as upstream,
        start(
            listen=listen,
            upstreams={"app": {"url": upstream.url}},
            routes=[{"path": "/{rest*}", "access": "public"}],
        ) as whole,
    ):
        assert await whole.metric("sidecar_buffered_bytes_bound") == bound
        assert await whole.metric("sidecar_buffered_bytes") == 0
        peers = [await Peer.connect(whole.url) for _ in range(30)]
        try:
            for peer in peers:
                peer.writer.transport.pause_reading()  # type: ignore[attr-defined] # it can
                await peer.send(request("/x"))
            async with asyncio.timeout(20):
                while not await whole.metric(cut % "answer"):
                    await asyncio.sleep(0.02)
            assert 0 < await whole.metric("sidecar_buffered_bytes") <= bound
            assert [await whole.metric(cut % each) for each in ("request", "websocket")] == [0, 0]
        finally:
            for peer in peers:
                peer.writer.transport.abort()

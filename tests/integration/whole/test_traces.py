"""Traces of the whole sidecar, as a collector receives them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from sidecar.telemetry import names
from tests.collector import Collector, Seen, collector
from tests.integration.whole.conftest import Start, Whole
from tests.integration.whole.test_admin_api import ADMIN, call

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{SPAN}-01"
ROUTES: list[dict[str, Any]] = [
    {"path": "/orders/{order_id}", "permission": "orders:read"},
    {"path": "/closed", "permission": "nobody:has"},
    {"path": "/public/{rest*}", "access": "public"},
    {"path": "/stream", "access": "authenticated"},
    {
        "path": "/ws",
        "access": "authenticated",
        "websocket": {
            "reauthenticate": {},
            "messages": {
                "protocol": "json",
                "error": '{"type": "error", "code": "{code}"}',
                "rules": [
                    {"type": "read", "permission": "orders:read"},
                    {"type": "stop", "access": "nobody"},
                ],
            },
        },
    },
]


@dataclass
class Application:
    """An application that answers with the status it is asked for.

    Attributes:
        url: where it is.
        parents: the traceparent of each request.
        states: their tracestates.
    """

    url: str = ""
    parents: list[str] = field(default_factory=list)
    states: list[list[str]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.parents.append(request.headers.get("Traceparent", ""))
        self.states.append(request.headers.getall("Tracestate", []))
        if "Upgrade" in request.headers:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await socket.send_str(message.data)
            return socket
        if request.path == "/stream":
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(b"data: tick\n\n")
                await asyncio.sleep(0.01)
        return web.Response(status=int(request.headers.get("X-Status", "200")), text="hello")


@asynccontextmanager
async def application() -> AsyncIterator[Application]:
    made = Application()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()


@dataclass
class Traced:
    """A sidecar, its application and the collector it tells."""

    whole: Whole
    application: Application
    collector: Collector

    async def get(self, who: str, path: str, **fields: str) -> int:
        """Status of a GET."""
        status, _ = await self.whole.ask(who, "GET", path, headers=fields)
        return status


@asynccontextmanager
async def traced(start: Start, *, ratio: float = 1.0, **sections: Any) -> AsyncIterator[Traced]:
    """A sidecar that samples `ratio`; `tracing` has more settings of it."""
    more = sections.pop("tracing", {})
    async with application() as app, collector() as told:
        tracing = {"endpoint": told.url, "ratio": ratio, "flush_seconds": 0.02, **more}
        defaults: dict[str, Any] = {
            "upstreams": {"app": {"url": app.url}}, "routes": ROUTES, "tracing": tracing,
        }  # fmt: skip
        async with start(**defaults | sections) as whole:
            yield Traced(whole, app, told)


def ids(traceparent: str) -> tuple[str, str, str]:
    """Trace id, span id, flags."""
    version, trace, span, flags = traceparent.split("-")
    assert version == "00"
    return trace, span, flags


def only(spans: list[Seen], kind: str) -> Seen:
    [span] = [span for span in spans if span.kind == kind]
    return span


async def test_a_permitted_request(start: Start, tmp_path: Any) -> None:
    """Server, upstream and look-ups are one trace, whose ids are those that the upstream got."""
    audit = {"sink": f"file:{tmp_path}/audit.jsonl", "flush_seconds": 0.01}
    async with traced(start, audit=audit) as world:
        assert await world.get("bob", "/orders/7?secret=in-the-query") == 200
        spans = await world.collector.until(lambda spans: len(spans) >= 3)
        assert len(spans) == 3
        server, client, load = (only(spans, kind) for kind in ("server", "client", "internal"))
        [told] = world.application.parents
    assert ids(told) == (server.trace, client.id, "03")
    assert {span.trace for span in spans} == {server.trace}
    assert server.parent == ""
    assert client.parent == load.parent == server.id
    assert server.name == client.name == "GET /orders/{order_id}"
    assert load.name == names.LOAD_SPAN
    port = int(world.whole.url.rpartition(":")[2])
    told_of = server.attributes
    assert told_of.pop(names.REQUEST_ID)
    assert told_of.pop(names.SESSION)
    assert told_of == {
        "http.request.method": "GET",
        "http.request.body.size": 0,
        "http.response.body.size": 5,
        "http.response.status_code": 200,
        "http.route": "/orders/{order_id}",
        "url.scheme": "http",
        "url.path": "/orders/7",
        "server.address": "127.0.0.1",
        "server.port": port,
        "client.address": "127.0.0.1",
        "network.protocol.version": "1.1",
        "enduser.id": "bob",
        "sidecar.tenant": "demo",
        "sidecar.route": "* /orders/{order_id}",
        "sidecar.outcome": "permit",
        "sidecar.reason": "granted",
        "sidecar.decided_by": "stores",
        "sidecar.via": ["clerk"],
    }
    upstream_port = int(world.application.url.rpartition(":")[2])
    assert client.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": upstream_port,
        "url.full": world.application.url + "/orders/7",
        "network.protocol.version": "1.1",
        "sidecar.upstream": "app",
    }
    assert [name for name, _ in client.events] == [names.SENT, names.ANSWERED]
    facts = {what[names.FACT]: what[names.TIER] for _, what in load.events}
    assert facts.keys() == {"SessionNeed", "UserNeed", "RolesNeed"}
    assert server.begun_ns <= load.begun_ns <= load.ended_ns <= client.begun_ns
    assert client.begun_ns <= client.ended_ns <= server.ended_ns
    assert {span.error for span in spans} == {None}
    resource = server.resource
    assert resource["service.name"] == "sidecar"
    assert resource["service.instance.id"]
    [line] = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert json.loads(line)["trace_id"] == server.trace


async def test_memory_is_said_to_have_decided_the_second_time(start: Start) -> None:
    async with traced(start) as world:
        for _ in range(2):
            assert await world.get("bob", "/orders/7") == 200
        await world.collector.until(lambda spans: len(spans) >= 5)
        server = [span for span in world.collector.spans if span.kind == "server"][1]
    assert server.attributes[names.DECIDED_BY] == "memory"


async def test_the_principal_is_shown_as_the_audit_shows_it(start: Start, tmp_path: Any) -> None:
    """Permits are not audited here, so nobody learns from traces who made them."""
    audit = {"sink": f"file:{tmp_path}/audit.jsonl", "permits": False}
    async with traced(start, audit=audit) as world:
        assert await world.get("bob", "/orders/7") == 200
        assert await world.get("bob", "/closed") == 403
        permitted = only(await world.collector.named("GET /orders/{order_id}", 2), "server")
        [refused] = await world.collector.named("GET /closed")
    assert names.SUBJECT not in permitted.attributes
    assert refused.attributes[names.SUBJECT] == "bob"


@pytest.mark.parametrize("refusals", [True, False])
async def test_refusals_are_kept_although_nothing_is_sampled(
    start: Start, *, refusals: bool
) -> None:
    async with traced(start, ratio=0.0, tracing={"refusals": refusals}) as world:
        assert await world.get("", "/orders/7") == 401
        assert await world.get("bob", "/orders/7") == 200
        assert await world.get("bob", "/public/x", **{"X-Status": "500"}) == 500
        [server, client] = (await world.collector.named("GET /public/{rest*}", 2))[:2]
        refused = [span for span in world.collector.spans if span.name == "GET /orders/{order_id}"]
    assert (server.error, client.error) == ("500", "500")
    assert len(refused) == refusals
    for span in refused:
        # A refusal is no error of a server (OpenTelemetry's conventions for HTTP).
        assert span.error is None
        assert span.attributes[names.STATUS] == 401
        assert span.attributes[names.REASON] == "no-credential"
        assert span.attributes[names.OUTCOME] == "deny"


async def test_what_is_kept_for_its_end_has_the_ids_that_the_upstream_got(start: Start) -> None:
    async with traced(start, ratio=0.0) as world:
        assert await world.get("", "/public/x", **{"X-Status": "503"}) == 503
        spans = await world.collector.named("GET /public/{rest*}", 2)
        [told] = world.application.parents
    server, client = only(spans, "server"), only(spans, "client")
    # Nobody knew then how it would end, so the upstream was told that nothing is recorded.
    assert ids(told) == (server.trace, client.id, "02")
    assert client.parent == server.id


async def test_an_upstream_that_is_not_there(start: Start) -> None:
    upstreams = {"app": {"url": "http://127.0.0.1:1"}}
    async with traced(start, ratio=0.0, upstreams=upstreams) as world:
        assert await world.get("", "/public/x") == 502
        spans = await world.collector.named("GET /public/{rest*}", 2)
    server, client = only(spans, "server"), only(spans, "client")
    assert server.error == client.error == "upstream-unreachable"
    assert names.STATUS not in client.attributes
    assert server.attributes[names.STATUS] == 502


async def test_a_stream_that_is_broken_off(start: Start) -> None:
    async with traced(start, ratio=0.0, admin=ADMIN) as world:
        whole = world.whole
        fields = {"Authorization": f"Bearer {whole.tokens['bob']}"}
        with pytest.raises((aiohttp.ClientPayloadError, ConnectionError)):
            async with whole.session.get(whole.url + "/stream", headers=fields) as answer:
                await answer.content.readline()
                while await whole.metric("sidecar_lives") < 1:
                    await asyncio.sleep(0.01)
                await call(whole, "DELETE", "/users/bob/sessions")
                async for _ in answer.content:
                    pass
        spans = await world.collector.named("GET /stream", 2)
    server = only(spans, "server")
    assert server.error == "session-revoked"
    assert server.attributes[names.STATUS] == 200
    assert (names.BROKEN_OFF, {names.REASON: "session-revoked"}) in server.events


async def test_a_websocket(start: Start) -> None:
    """A trace of its own, linked to the handshake's; refused messages are events."""
    async with traced(start, admin=ADMIN) as world:
        whole = world.whole
        fields = {"Authorization": f"Bearer {whole.tokens['bob']}", "Traceparent": GIVEN}
        async with whole.session.ws_connect(whole.url + "/ws", headers=fields) as socket:
            await socket.send_str('{"type": "read"}')
            await socket.receive_str()
            for _ in range(40):
                await socket.send_str('{"type": "stop"}')
            for who, answer in (("alice", "refused"), ("bob", "authenticated")):
                token = whole.tokens[who]
                await socket.send_json({"type": "sidecar.authenticate", "token": token})
                async with asyncio.timeout(10):
                    while (await socket.receive_json())["type"] != f"sidecar.{answer}":
                        pass
            await call(whole, "DELETE", "/users/bob/sessions")
            async with asyncio.timeout(10):
                while (await socket.receive()).type is WSMsgType.TEXT:
                    pass
            assert socket.close_code == 4401
        [connection] = await world.collector.named("websocket /ws")
        server = only(await world.collector.named("GET /ws", 2), "server")
        [told] = world.application.parents
    assert server.trace == TRACE
    assert server.attributes[names.STATUS] == 101
    assert connection.trace != server.trace
    assert connection.parent == ""
    assert connection.links == [(server.trace, server.id)]
    assert ids(told)[0] == TRACE
    assert connection.attributes[names.MESSAGES_REFUSED] == 40
    assert connection.attributes[names.MESSAGES_JUDGED] == 42
    assert connection.attributes[names.JUDGING_SECONDS] > 0
    assert connection.attributes[names.CLOSED] == "session-revoked"
    assert connection.attributes[names.CLOSE_CODE] == 4401
    assert connection.attributes[names.MESSAGES_IN] == 43
    assert connection.error == "session-revoked"
    kinds = [name for name, _ in connection.events]
    assert kinds.count(names.MESSAGE_REFUSED) == 32
    assert kinds[-3:] == [
        names.REAUTHENTICATION_REFUSED, names.REAUTHENTICATED, names.CONNECTION_CLOSED,
    ]  # fmt: skip
    assert connection.events[0][1] == {names.DIRECTION: "client", names.LABEL: "forbidden"}


async def test_a_websocket_with_refused_messages_is_kept(start: Start) -> None:
    async with traced(start, ratio=0.0) as world:
        whole = world.whole
        fields = {"Authorization": f"Bearer {whole.tokens['bob']}"}
        for kind in ("read", "stop"):
            async with whole.session.ws_connect(whole.url + "/ws", headers=fields) as socket:
                await socket.send_json({"type": kind})
                await socket.receive_str()
        [connection] = await world.collector.named("websocket /ws")
    assert connection.attributes[names.MESSAGES_REFUSED] == 1
    assert connection.error is None


async def test_nothing_secret_is_exported(start: Start) -> None:
    secret = "s3cr3t-of-a-client"
    async with traced(start, admin=ADMIN) as world:
        whole = world.whole
        fields = {
            "Cookie": f"other={secret}", "X-Api-Key": secret, "Tracestate": f"a={secret}",
            "User-Agent": secret, "Baggage": f"a={secret}", "Referer": f"http://h/{secret}",
        }  # fmt: skip
        assert await world.get("bob", f"/orders/7?token={secret}", **fields) == 200
        assert await world.get("bob", f"/closed?token={secret}", **fields) == 403
        assert await world.get(secret, f"/orders/7?token={secret}", **fields) == 401
        cookie = {"Cookie": f"sidecar_session={whole.tokens['bob']}", "Origin": whole.url}
        url = f"{whole.url}/ws?x={secret}"
        async with whole.session.ws_connect(url, headers=cookie) as socket:
            await socket.send_json({"type": "stop", "body": secret})
            await socket.send_json({"type": "sidecar.authenticate", "token": secret})
            await socket.receive_str()
            await socket.receive_str()
        await world.collector.named("websocket /ws")
        await world.collector.named("GET /orders/{order_id}", 3)
        octets = b"".join(world.collector.bodies)
    assert secret.encode() not in octets
    for token in whole.tokens.values():
        assert token.encode() not in octets
        assert token[-40:].encode() not in octets


STRANGER: tuple[str, ...] = ()
PROXY = ("127.0.0.0/8",)


@pytest.mark.parametrize(
    ("trusted", "flags", "kept"),
    [(STRANGER, "01", False), (STRANGER, "00", False), (PROXY, "01", True), (PROXY, "00", False)],
)
async def test_whose_flag_counts(
    start: Start, trusted: tuple[str, ...], flags: str, *, kept: bool
) -> None:
    async with traced(start, ratio=0.0, forwarded={"trusted": trusted}) as world:
        given = f"00-{TRACE}-{SPAN}-{flags}"
        state = {"Traceparent": given, "Tracestate": "a=b"}
        assert await world.get("bob", "/orders/7", **state) == 200
        # A refusal behind it tells that all there was has arrived.
        assert await world.get("", "/orders/8") == 401
        await world.collector.until(
            lambda spans: any(span.attributes.get(names.STATUS) == 401 for span in spans)
        )
        [told] = world.application.parents
        spans = [span for span in world.collector.spans if span.trace == TRACE]
    assert world.application.states == [["a=b"]]
    trace, span, said = ids(told)
    assert trace == TRACE
    assert span != SPAN
    assert said == ("01" if kept else "00")
    assert bool(spans) == kept
    if kept:
        server, client = only(spans, "server"), only(spans, "client")
        assert server.parent == SPAN
        assert client.id == span


@pytest.mark.parametrize("given", ["garbage", f"00-{'0' * 32}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01"])
async def test_an_invalid_context_begins_a_trace(start: Start, given: str) -> None:
    async with traced(start, forwarded={"trusted": PROXY}) as world:
        fields = {"Traceparent": given, "Tracestate": "a=b"}
        assert await world.get("", "/public/x", **fields) == 200
        server = only(await world.collector.named("GET /public/{rest*}", 2), "server")
    assert server.trace != TRACE
    assert server.parent == ""
    assert world.application.states == [[]]


@pytest.mark.parametrize("mode", ["new", "off"])
async def test_the_callers_trace_is_not_continued(start: Start, mode: str) -> None:
    forwarded = {"traceparent": mode, "trusted": PROXY}
    async with traced(start, forwarded=forwarded) as world:
        fields = {"Traceparent": GIVEN, "Tracestate": "a=b"}
        assert await world.get("", "/public/x", **fields) == 200
        server = only(await world.collector.named("GET /public/{rest*}", 2), "server")
        [told] = world.application.parents
    assert server.trace != TRACE
    assert server.parent == ""
    assert told == "" if mode == "off" else ids(told)[0] == server.trace
    assert world.application.states == [[]]


async def test_two_sidecars_in_a_row_keep_the_same_traces(start: Start) -> None:
    """Neither trusts the other: the ids alone decide."""
    async with (
        traced(start, ratio=0.3) as inner,
        traced(start, ratio=0.3, upstreams={"app": {"url": inner.whole.url}}) as outer,
    ):
        for _ in range(60):
            assert await outer.get("", "/public/x") == 200
        # Of both the end of all there was.
        assert await inner.get("", "/orders/1") == await outer.get("", "/orders/1") == 401
        for world in (inner, outer):
            await world.collector.until(
                lambda spans: any(span.attributes.get(names.STATUS) == 401 for span in spans)
            )
        sets = [
            {
                span.trace: span
                for span in world.collector.spans
                if span.kind == kind and span.name.startswith("GET /public")
            }
            for world, kind in ((inner, "server"), (outer, "client"))
        ]
    assert sets[0].keys() == sets[1].keys()
    assert 1 <= len(sets[0]) <= 40
    for trace, server in sets[0].items():
        assert server.parent == sets[1][trace].id


async def test_spans_have_a_bound(start: Start) -> None:
    """Everything asked to be kept, by everybody: a trusted flag, the ratio, refusals."""
    tracing = {"spans_per_second": 1}
    async with traced(start, forwarded={"trusted": PROXY}, tracing=tracing) as world:
        for _ in range(50):
            assert await world.get("", "/public/x", Traceparent=GIVEN) == 200
            assert await world.get("", "/orders/1") == 401
        over = await world.whole.metric('sidecar_spans_total{outcome="over-rate"}')
    # The bucket, and what time filled of it.
    assert 0 < len(world.collector.spans) <= 12
    assert over >= 120
    flags = [ids(told)[2] for told in world.application.parents]
    # What exceeds the bound is not said to be recorded.
    assert flags.count("01") == sum(span.kind == "client" for span in world.collector.spans)


async def test_a_collector_that_fails_costs_spans_and_nothing_else(start: Start) -> None:
    async with traced(start) as world:
        world.collector.statuses[:] = [500, 400, 302]
        world.collector.location = world.whole.url
        for number in range(3):
            assert await world.get("", "/public/x") == 200
            while await world.whole.metric('sidecar_spans_total{outcome="failed"}') < 2 * (
                number + 1
            ):
                await asyncio.sleep(0.01)
        assert await world.get("", "/public/x") == 200
        await world.collector.named("GET /public/{rest*}", 2)


async def test_a_collector_that_takes_some_only(start: Start) -> None:
    async with traced(start) as world:
        world.collector.rejects = 1
        assert await world.get("", "/public/x") == 200
        while await world.whole.metric('sidecar_spans_total{outcome="exported"}') < 1:
            await asyncio.sleep(0.01)
        assert await world.whole.metric('sidecar_spans_total{outcome="failed"}') == 1


async def test_a_collector_that_hangs_holds_nobody_up(start: Start) -> None:
    async with traced(start, tracing={"queue": 64, "timeout_seconds": 60}) as world:
        world.collector.released.clear()
        for _ in range(80):
            assert await world.get("", "/public/x") == 200
        lost = await world.whole.metric('sidecar_spans_total{outcome="queue-full"}')
        assert lost > 0
        loop = asyncio.get_running_loop()
        begun = loop.time()
    # Not the minute that an export may take; the bound is a second.
    assert loop.time() - begun < 15


async def test_the_end_sends_what_is_left(start: Start) -> None:
    async with traced(start, tracing={"flush_seconds": 60}) as world:
        assert await world.get("", "/public/x") == 200
        assert world.collector.spans == []
        # The collector outlives the sidecar.
    assert len(world.collector.spans) == 2


async def test_headers_reach_the_collector_and_no_variable_does(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-stray=1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1/v1/traces")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "stray=1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    tracing = {"headers": {"Authorization": "Bearer abc"}, "resource": {"k": "v"}, "service": "s"}
    async with traced(start, tracing=tracing) as world:
        assert await world.get("", "/public/x") == 200
        [span, *_] = await world.collector.named("GET /public/{rest*}", 2)
        fields = world.collector.fields[0]
    assert fields["authorization"] == "Bearer abc"
    assert fields["content-type"] == "application/x-protobuf"
    assert "x-stray" not in fields
    assert span.resource["service.name"] == "s"
    assert span.resource["k"] == "v"
    assert "stray" not in span.resource

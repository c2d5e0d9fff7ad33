"""Requests and responses through the data plane, as upstream and client see them."""

import asyncio

import pytest

from sidecar.model.reason import Reason
from sidecar.settings.schema import Forwarded, RouteRule, Upstream
from tests.plane import (
    ANY,
    OK,
    ScriptedUpstream,
    fields_of,
    read_head,
    read_request,
    replying,
    request,
    running_plane,
)


async def test_one_upstream_connection_serves_many_requests() -> None:
    serve, seen = replying(OK)
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        for number in range(5):
            response = await client.get(f"/{number}")
            assert (response.status, response.body) == (200, b"ok")
        assert upstream.connections == 1
        assert [head.split(b" ")[1] for head, _ in seen] == [b"/0", b"/1", b"/2", b"/3", b"/4"]
        assert plane.pool.statistics.reused == 4
        client.close()


async def test_fields_of_a_request_as_they_go_upstream() -> None:
    serve, seen = replying(OK)
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        await client.get(
            "/a?b=c",
            "Accept: */*",
            "X-Keep: one",
            "X-Keep: two",
            "Connection: keep-alive, X-Drop",
            "X-Drop: 1",
            "X_Drop: 1",
            "Keep-Alive: timeout=5",
            "TE: trailers",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABk",
            "Proxy-Authorization: Basic eDp5",
            "Authorization: Bearer secret",
            "Cookie: a=b; sidecar_session=secret; c=d",
            "X-Forwarded-For: 6.6.6.6",
            "X-Forwarded-Host: evil",
            "X-Forwarded-Proto: https",
            "Forwarded: for=6.6.6.6",
            "X-Real-IP: 6.6.6.6",
            "X-Request-Id: forged",
            "X-Auth-User: root",
            "x_auth_user: root",
            "X-AUTH_ROLES: admin",
            "X-Auth-Tenant: other",
            "Sidecar-Subject: root",
            "Content_Length: 5",
            "Transfer_Encoding: chunked",
            "X-HTTP-Method-Override: DELETE",
            "X-Original-URL: /admin",
            "X-Rewrite-URL: /admin",
            "X.Auth.User: root",
            "X!Auth~User: root",
            "X-Forwarded-Port: 1",
            "X-Forwarded-User: root",
            "X-Forwarded-Prefix: /admin",
            "X-Client-IP: 6.6.6.6",
            "True-Client-IP: 6.6.6.6",
            "X-Original-Host: evil",
            "Remote-User: root",
            "Proxy: http://evil.example",
        )
        client.close()
    head, _ = seen[0]
    assert head.startswith(b"GET /a?b=c HTTP/1.1\r\n")
    fields = fields_of(head)
    identifier = fields.pop("x-request-id")
    trace = fields.pop("traceparent")
    assert fields == {
        "host": "app.example",
        "accept": "*/*",
        "x-keep": "one|two",
        "cookie": "a=b; c=d",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "http",
        "x-forwarded-host": "app.example",
    }
    assert len(identifier) == 24
    assert trace.startswith("00-")
    assert len(trace) == 55


@pytest.mark.parametrize(
    ("cookie", "forwarded"),
    [
        ("sidecar_session=x", None),
        ("sidecar_session=x; a=b", "a=b"),
        ("a=b;sidecar_session=x", "a=b"),
        ("a=b; sidecar_session = x ;c=d", "a=b;c=d"),
        ("not_sidecar_session=x", "not_sidecar_session=x"),
        ("sidecar_session_2=x", "sidecar_session_2=x"),
    ],
)
async def test_only_our_cookie_is_taken_out(cookie: str, forwarded: str | None) -> None:
    serve, seen = replying(OK)
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        await client.get("/", f"Cookie: {cookie}")
        client.close()
    assert fields_of(seen[0][0]).get("cookie") == forwarded


async def test_credentials_go_upstream_only_where_the_route_asks() -> None:
    serve, seen = replying(OK)
    routes = [RouteRule(path="/", access="public", forward_credential=True)]
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, routes=routes) as plane,
    ):
        client = await plane.client()
        await client.get("/", "Authorization: Basic eDp5", "Cookie: sidecar_session=x")
        client.close()
    fields = fields_of(seen[0][0])
    assert (fields["authorization"], fields["cookie"]) == ("Basic eDp5", "sidecar_session=x")


async def test_a_trusted_proxy_is_believed() -> None:
    serve, seen = replying(OK)
    forwarded = Forwarded(trusted=("127.0.0.0/8",))
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, forwarded=forwarded) as plane,
    ):
        client = await plane.client()
        kept = await client.get(
            "/",
            "X-Forwarded-For: 9.9.9.9",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: public.example",
            "X-Request-Id: from-the-edge",
            "X-Forwarded-Port: 443",
            "X-Client-IP: 9.9.9.9",
            "Remote-User: root",
        )
        await client.get("/", "X-Forwarded-For: bad\x80", "X-Forwarded-Proto: gopher")
        client.close()
    fields = fields_of(seen[0][0])
    assert fields["x-forwarded-for"] == "9.9.9.9, 127.0.0.1"
    assert fields["x-forwarded-proto"] == "https"
    assert fields["x-forwarded-host"] == "public.example"
    assert (fields["x-forwarded-port"], fields["x-client-ip"]) == ("443", "9.9.9.9")
    assert "remote-user" not in fields
    assert fields["x-request-id"] == kept.fields["x-request-id"] == "from-the-edge"
    fields = fields_of(seen[1][0])
    assert fields["x-forwarded-for"] == "127.0.0.1"
    assert fields["x-forwarded-proto"] == "http"


async def test_what_connection_may_and_may_not_name() -> None:
    serve, seen = replying(OK)
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        await client.get("/", "Connection: keep-alive", "Connection: X-Secret", "X-Secret: 1")
        await client.get(
            "/",
            "Connection: Origin, Sec-Fetch-Site, Cookie, Host, Content-Length, X-Request-Id",
            "Origin: https://evil.example",
            "Sec-Fetch-Site: cross-site",
            "Cookie: a=b",
            "Content-Length: 0",
            method="POST",
        )
        client.close()
    assert "x-secret" not in fields_of(seen[0][0])
    fields = fields_of(seen[1][0])
    assert fields["origin"] == "https://evil.example"
    assert fields["sec-fetch-site"] == "cross-site"
    assert (fields["cookie"], fields["host"], fields["content-length"]) == (
        "a=b",
        "app.example",
        "0",
    )
    assert len(fields["x-request-id"]) == 24


GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("setting", "sent", "expected"),
    [
        ("keep", GIVEN, GIVEN),
        ("keep", "00-" + "0" * 32 + "-b7ad6b7169203331-01", None),
        ("keep", "garbage", None),
        ("new", GIVEN, None),
    ],
)
async def test_trace_context(setting: str, sent: str, expected: str | None) -> None:
    serve, seen = replying(OK)
    forwarded = Forwarded(traceparent=setting)  # type: ignore[arg-type]  # one of its literals
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, forwarded=forwarded) as plane,
    ):
        client = await plane.client()
        await client.get("/", f"traceparent: {sent}")
        client.close()
    received = fields_of(seen[0][0])["traceparent"]
    assert received == expected if expected else received != sent


async def test_no_trace_context_when_it_is_off() -> None:
    serve, seen = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, forwarded=Forwarded(traceparent="off")) as plane,
    ):
        client = await plane.client()
        await client.get("/", f"traceparent: {GIVEN}", "tracestate: a=b")
        client.close()
    assert not {"traceparent", "tracestate"} & fields_of(seen[0][0]).keys()


async def test_the_upstreams_own_host_where_asked() -> None:
    serve, seen = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, upstream=Upstream(url="", keep_host=False)) as plane,
    ):
        client = await plane.client()
        await client.get("/")
        client.close()
    fields = fields_of(seen[0][0])
    assert (fields["host"], fields["x-forwarded-host"]) == ("upstream.example", "app.example")


async def test_fields_of_a_response_as_the_client_gets_them() -> None:
    answer = (
        b"HTTP/1.1 200 Whatever\r\nContent-Length: 2\r\nConnection: X-Drop\r\nX-Drop: 1\r\n"
        b"Keep-Alive: timeout=5\r\nX-Request-Id: theirs\r\nSet-Cookie: app=1\r\n"
        b"Set-Cookie: sidecar_session=stolen\r\nTrailer: X\r\nServer: app\r\n\r\nok"
    )
    serve, _ = replying(answer)
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        response = await client.get("/")
        client.close()
    assert response.head.startswith(b"HTTP/1.1 200 OK\r\n"), "the reason phrase is ours"
    assert len(response.fields.pop("x-request-id")) == 24
    assert response.fields == {"content-length": "2", "set-cookie": "app=1", "server": "app"}


@pytest.mark.parametrize(
    ("framing", "expected"),
    [
        (["Content-Length: 11"], "content-length"),
        (["Transfer-Encoding: chunked"], "transfer-encoding"),
    ],
)
async def test_bodies_of_requests(framing: list[str], expected: str) -> None:
    serve, seen = replying(OK)
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        body = b"hello world"
        if expected == "transfer-encoding":
            body = b'5;ext="x"\r\nhello\r\n6\r\n world\r\n0\r\nX-Auth-User: root\r\n\r\n'
        octets = request("/", *framing, method="POST", body=body)
        await client.send(octets)
        assert (await client.response()).status == 200
        for at in range(len(octets)):  # once more, byte by byte, on the same connection
            await client.send(octets[at : at + 1])
        assert (await client.response()).status == 200
        client.close()
    for head, payload in seen:
        assert payload == b"hello world"
        assert expected in fields_of(head)
        assert "x-auth-user" not in fields_of(head)


async def test_an_empty_body_that_is_announced_stays_announced() -> None:
    serve, seen = replying(OK)
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        await client.get("/", "Content-Length: 0", method="POST")
        await client.get("/", method="DELETE")
        client.close()
    assert [fields_of(head).get("content-length") for head, _ in seen] == ["0", None]


ANSWERS = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "chunked": (
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-T: 1\r\n\r\n"
        ),
        b"hello",
    ),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    "no content": (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", b""),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", b""),
    "early hints": (
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"
            b"Content-Length: 5\r\n\r\nhello"
        ),
        b"hello",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "byte by byte"])
async def test_framing_of_responses(name: str, *, cut: bool) -> None:
    octets, body = ANSWERS[name]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            for at in range(0, len(octets), 1 if cut else len(octets)):
                writer.write(octets[at : at + (1 if cut else len(octets))])
                await writer.drain()
                await asyncio.sleep(0)

    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        for _ in range(2):
            response = await client.get("/")
            if response.status == 103:
                assert response.fields == {"link": "</a>"}
                response = await client.response()
            assert response.body == body
        # Where a body is announced that must not come, the connection is not used again.
        assert upstream.connections == (2 if name == "not modified" else 1)
        client.close()


async def test_a_body_until_the_close_is_chunked_for_the_client() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello")
        await writer.drain()

    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        for _ in range(2):
            response = await client.get("/")
            assert response.fields["transfer-encoding"] == "chunked"
            assert response.body == b"hello"
        client.close()


async def test_http_1_0_clients_get_bodies_until_the_close() -> None:
    serve, _ = replying(ANSWERS["chunked"][0])
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        response = await client.response()
        assert "transfer-encoding" not in response.fields
        assert response.fields["connection"] == "close"
        assert response.body == b"hello"
        client.close()


@pytest.mark.parametrize("trusted", [(), ("127.0.0.0/8",)])
async def test_a_client_that_names_no_host_gets_the_upstreams(trusted: tuple[str, ...]) -> None:
    serve, seen = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, forwarded=Forwarded(trusted=trusted)) as plane,
    ):
        client = await plane.client()
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.response()).status == 200
        fields = fields_of(seen[0][0])
        assert fields["host"] == "upstream.example"
        assert "x-forwarded-host" not in fields
        client.close()


async def test_a_client_that_names_no_host_is_refused_where_routes_do() -> None:
    serve, seen = replying(OK)
    routes = (RouteRule(path="/a", host="a.example", access="public"), *ANY)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, routes=routes) as plane,
    ):
        client = await plane.client()
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        response = await client.response()
        assert (response.status, response.json()["reason"]) == (400, "malformed-host")
        assert seen == []
        client.close()


async def test_http_1_0_keep_alive_with_a_length() -> None:
    serve, _ = replying(OK, ANSWERS["early hints"][0])
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        for body in (b"ok", b"hello"):
            await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            response = await client.response()
            assert response.status == 200, "HTTP/1.0 knows no interim responses"
            assert (response.body, response.fields["connection"]) == (body, "keep-alive")
        client.close()


async def test_head_requests() -> None:
    serve, _ = replying(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", OK)
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        response = await client.get("/", method="HEAD")
        assert response.fields["content-length"] == "99"
        assert (await client.get("/")).body == b"ok"
        client.close()


async def test_connection_close_is_honoured() -> None:
    serve, _ = replying(OK)
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        response = await client.get("/", "Connection: close")
        assert response.fields["connection"] == "close"
        assert await client.at_end()
        client.close()


async def test_pipelined_requests_are_answered_in_order() -> None:
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        while True:
            head, _ = await read_request(reader)
            count += 1
            target = head.split(b" ")[1]
            await asyncio.sleep(0.02 if target == b"/0" else 0)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(target) + target)

    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        octets = b"".join(
            request(f"/{n}", "Content-Length: 3", method="POST", body=b"abc")
            if n % 2
            else request(f"/{n}")
            for n in range(20)
        )
        await client.send(octets)
        bodies = [(await client.response()).body for _ in range(20)]
        assert bodies == [b"/%d" % n for n in range(20)]
        client.close()


async def test_expectations_are_the_upstreams_to_answer() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        assert fields_of(head)["expect"] == "100-continue"
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await reader.readexactly(5) == b"hello"
        writer.write(OK)
        await writer.drain()
        await reader.read(1)

    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        await client.send(request("/", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        assert (await client.response()).status == 100
        await client.send(b"hello")
        assert (await client.response()).status == 200
        client.close()


async def test_an_early_answer_closes_the_connection() -> None:
    """The rest of the request has no place to go, and nothing can begin after it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
        await writer.drain()
        await reader.read(-1)

    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        await client.send(request("/", "Content-Length: 100000", method="POST", body=b"abc"))
        response = await client.response()
        assert (response.status, response.fields["connection"]) == (413, "close")
        assert await client.at_end()
        await plane.until(lambda: plane.pool.size == 0)
        client.close()


async def test_an_event_stream_arrives_event_by_event() -> None:
    gate = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"
        )
        await gate.wait()
        writer.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")
        await writer.drain()

    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        await client.send(request("/events"))
        await read_head(client.reader)
        assert await client.reader.readexactly(14) == b"9\r\ndata: 1\n\n\r\n"
        gate.set()
        assert await client.reader.readexactly(19) == b"9\r\ndata: 2\n\n\r\n0\r\n\r\n"
        client.close()


async def test_a_half_closed_client_still_gets_its_answer() -> None:
    serve, _ = replying(OK)
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        client.writer.write(request("/"))
        client.writer.write_eof()
        assert (await client.response()).status == 200
        assert await client.at_end()
        client.close()


async def test_websocket_upgrades_are_refused_clearly() -> None:
    serve, seen = replying(OK)
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        response = await client.get(
            "/ws",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
        assert (response.status, response.json()["reason"]) == (501, Reason.UNSUPPORTED_UPGRADE)
        client.close()
    assert seen == []


async def test_an_upstream_on_a_unix_socket(tmp_path_factory: pytest.TempPathFactory) -> None:
    serve, _ = replying(OK)
    path = tmp_path_factory.mktemp("s") / "app.sock"
    upstream = ScriptedUpstream(serve)
    server = await asyncio.start_unix_server(upstream._run, path)
    async with running_plane(f"unix:{path}") as plane:
        client = await plane.client()
        assert (await client.get("/")).status == 200
        client.close()
    server.close()
    for task in upstream._tasks:
        task.cancel()

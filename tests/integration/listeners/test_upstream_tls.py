"""TLS with upstreams: always verified, ends that are told apart, nothing lost on the way."""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sidecar.settings.schema import Upstream, UpstreamTls
from tests.certificates import Authority, Leaf
from tests.plane import (
    OK,
    Plane,
    ScriptedUpstream,
    Serve,
    read_chunked,
    read_request,
    replying,
    request,
    running_plane,
)


@asynccontextmanager
async def serving(
    serve: Serve,
    leaf: Leaf,
    folder: Path,
    *,
    ca: Authority | None = None,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> AsyncIterator[int]:
    """A scripted upstream over TLS; gives its port. With `ca` it asks for a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*leaf.write(folder, "upstream"))
    context.minimum_version = context.maximum_version = version
    if ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=ca.pem.decode())

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def plane_before(port: int, **tls: str | float) -> AsyncIterator[Plane]:
    url = f"https://localhost:{port}"
    upstream = Upstream(url=url, tls=UpstreamTls(**tls), connect_seconds=5.0)  # type: ignore[arg-type] # a test's own
    async with running_plane(url, upstream=upstream) as plane:
        yield plane


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_requests_over_one_connection(
    version: ssl.TLSVersion, authority: Authority, tmp_path: Path
) -> None:
    serve, seen = replying(OK)
    async with (
        serving(serve, authority.server(), tmp_path, version=version) as port,
        plane_before(port, ca=authority.write(tmp_path)) as plane,
    ):
        client = await plane.client()
        for _ in range(3):
            assert (await client.get("/")).body == b"ok"
        assert len(seen) == 3
        assert plane.pool.statistics.opened == 1
        assert plane.pool.statistics.unsolicited == 0
        client.close()


@pytest.mark.parametrize(
    "wrong", ["authority", "name", "expired", "not tls", "machine's authorities"]
)
async def test_an_upstream_that_cannot_be_verified_gets_no_request(
    wrong: str, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    serve, seen = replying(OK)
    leaf = authority.server()
    tls: dict[str, str] = {"ca": authority.write(tmp_path)}
    if wrong == "authority":
        tls["ca"] = Authority("Else").write(tmp_path, "else")
    elif wrong == "name":
        tls["server_name"] = "other.example"
    elif wrong == "expired":
        leaf = authority.issue("a", names=["localhost"], begins=-2, days=-1)
    elif wrong == "machine's authorities":
        del tls["ca"]
    async with serving(serve, leaf, tmp_path) as port, ScriptedUpstream(no_tls) as plain:
        with caplog.at_level(logging.WARNING):
            async with plane_before(plain.port if wrong == "not tls" else port, **tls) as plane:
                client = await plane.client()
                for _ in range(2):
                    answer = await client.get("/")
                    assert (answer.status, answer.json()["reason"]) == (
                        502,
                        "upstream-unreachable",
                    )
                client.close()
    assert not seen
    told = [each for each in caplog.messages if each.startswith("no TLS with upstream app: ")]
    assert len(told) <= 1, "it is told once, however often it happens"
    if wrong in {"authority", "name", "expired", "machine's authorities"}:
        assert told


async def test_the_name_may_differ_from_the_host(authority: Authority, tmp_path: Path) -> None:
    serve, _ = replying(OK)
    async with (
        serving(serve, authority.server("orders.internal"), tmp_path) as port,
        plane_before(port, ca=authority.write(tmp_path), server_name="orders.internal") as plane,
    ):
        client = await plane.client()
        assert (await client.get("/")).status == 200
        client.close()


async def test_our_certificate_is_shown_and_renewed(authority: Authority, tmp_path: Path) -> None:
    shown: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            certificate = writer.get_extra_info("peercert")
            shown.append(int(certificate["serialNumber"], 16))
            writer.write(OK)
            await writer.drain()

    first, second = authority.issue("us"), authority.issue("us")
    certificate, key = first.write(tmp_path, "own")
    async with (
        serving(serve, authority.server(), tmp_path, ca=authority) as port,
        plane_before(port, ca=authority.write(tmp_path), certificate=certificate, key=key) as plane,
    ):
        client = await plane.client()
        assert (await client.get("/")).status == 200
        second.write(tmp_path, "own")
        assert plane.dialler.tls is not None
        await plane.dialler.tls.look()
        assert (await client.get("/")).status == 200
        await plane.pool.close()
        assert (await client.get("/")).status == 200
        client.close()
    before, after = first.certificate.serial_number, second.certificate.serial_number
    assert shown == [before, before, after], "open connections go on, new ones show the new one"


async def test_without_a_certificate_that_is_asked_for_it_is_unreachable(
    authority: Authority, tmp_path: Path
) -> None:
    serve, seen = replying(OK)
    async with (
        serving(serve, authority.server(), tmp_path, ca=authority) as port,
        plane_before(port, ca=authority.write(tmp_path)) as plane,
    ):
        client = await plane.client()
        assert (await client.get("/")).status == 502
        assert not seen
        client.close()


@pytest.mark.parametrize("is_told", [True, False], ids=["close_notify", "cut"])
async def test_a_body_until_the_close_ends_with_a_close_notify(
    is_told: bool, authority: Authority, tmp_path: Path
) -> None:
    """A FIN alone can be anybody's (RFC 8446 section 6.1): then the body was truncated."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        await writer.drain()
        if not is_told:
            # Ends the TCP connection below TLS, with FIN and without a word.
            descriptor = os.dup(writer.get_extra_info("socket").fileno())
            with socket.socket(fileno=descriptor) as sock:
                sock.shutdown(socket.SHUT_WR)
            await reader.read(-1)

    async with (
        serving(serve, authority.server(), tmp_path) as port,
        plane_before(port, ca=authority.write(tmp_path)) as plane,
    ):
        client = await plane.client()
        await client.send(request("/"))
        if is_told:
            assert (await client.response()).body == b"all of it"
        else:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.response()
            assert plane.ended[0].denial is not None
            assert plane.ended[0].denial.reason == "upstream-closed"
        client.close()


@pytest.mark.parametrize("framing", [b"Content-Length: 100010\r\n", b""])
async def test_nothing_is_lost_when_the_upstream_ends_and_the_client_is_slow(
    framing: bytes, authority: Authority, tmp_path: Path
) -> None:
    """The end of the connection comes while reading is paused, and what is before it counts."""
    go_on, is_ended = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"Connection: close\r\n\r\n0123456789")
        await go_on.wait()
        descriptor = os.dup(writer.get_extra_info("socket").fileno())
        writer.write(100_000 * b"x")
        await writer.drain()
        # Its end of TLS, and at once the end of TCP: most servers wait for no answer.
        writer.close()
        with socket.socket(fileno=descriptor) as sock:
            sock.shutdown(socket.SHUT_WR)
        is_ended.set()

    async with (
        serving(serve, authority.server(), tmp_path) as port,
        plane_before(port, ca=authority.write(tmp_path)) as plane,
    ):
        client = await plane.client()
        await client.send(request("/"))
        await client.reader.readuntil(b"0123456789" if framing else b"0123456789\r\n")
        (downstream,) = plane.server._downstreams
        downstream.pause_writing()
        go_on.set()
        await is_ended.wait()
        for _ in range(20):
            await asyncio.sleep(0.005)
        downstream.resume_writing()
        whole = client.reader.readexactly(100_000) if framing else read_chunked(client.reader)
        rest = await whole
        assert rest.count(b"x") == 100_000
        client.close()


async def test_an_upstream_whose_handshake_stalls_times_out(
    authority: Authority, tmp_path: Path
) -> None:
    async def stall(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async with ScriptedUpstream(stall) as upstream:
        url = f"https://localhost:{upstream.port}"
        tls = UpstreamTls(ca=authority.write(tmp_path))
        settings = Upstream(url=url, tls=tls, connect_seconds=0.2)
        async with running_plane(url, upstream=settings) as plane:
            client = await plane.client()
            answer = await client.get("/")
            assert (answer.status, answer.json()["reason"]) == (504, "upstream-timeout")
            assert plane.pool.size == 0
            client.close()

"""Exchanges that somebody is asked about: what goes on in either direction, and what waits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sidecar.forward.exchange import Exchange
from sidecar.model.decision import Denial
from sidecar.model.reason import Reason
from sidecar.settings.schema import Upstream
from tests.plane import (
    OK,
    Holding,
    Plane,
    RawClient,
    ScriptedUpstream,
    Serve,
    read_head,
    request,
    running_plane,
)

_MOST_KEPT = 400_000


class Guard:
    """Lets everything pass until it is told otherwise."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.allows = True
        self.kept: list[tuple[bytes, bool]] = []

    def may_pass(self) -> bool:
        if not self.allows:
            self._exchange.hold()
        return self.allows

    def admits(self, payload: bytes, *, ended: bool) -> bool:
        if not self.may_pass():
            self.kept.append((payload, ended))
        return self.allows

    def go_on(self) -> None:
        self.allows = True
        kept, self.kept = self.kept, []
        for payload, ended in kept:
            self._exchange.relay(payload, ended=ended)
        if not self._exchange.is_over:
            self._exchange.release()

    def left(self) -> None:
        self.kept.clear()


@asynccontextmanager
async def guarded(serve: Serve, begun: bytes) -> AsyncIterator[tuple[Plane, RawClient, Exchange]]:
    """One exchange that has reached the upstream with what is `begun` of it."""
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        await client.send(begun)
        await plane.until(lambda: bool(plane.pool.under_way()))
        [exchange] = plane.pool.under_way()
        yield plane, client, exchange
        client.reset()


class Uploaded:
    """An upstream that answers when it got the end of a chunked body; `reads` lets it read."""

    def __init__(self) -> None:
        self.octets = bytearray()
        self.reads = asyncio.Event()
        self.reads.set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        while not self.octets.endswith(b"0\r\n\r\n"):
            await self.reads.wait()
            octets = await reader.read(65_536)
            if not octets:
                return
            self.octets += octets
        writer.write(OK)
        await writer.drain()


UPLOAD = request("/", "Transfer-Encoding: chunked", method="POST", body=b"3\r\none\r\n")


async def test_an_upload_waits_while_nothing_may_pass() -> None:
    upstream = Uploaded()
    async with guarded(upstream, UPLOAD) as (plane, client, exchange):
        await plane.until(lambda: b"one" in upstream.octets)
        guard = Guard(exchange)
        exchange.guard_by(guard)
        await client.send(b"3\r\ntwo\r\n")
        await plane.until(lambda: b"two" in upstream.octets)
        guard.allows = False
        await client.send(b"5\r\nthree\r\n")
        await plane.until(lambda: exchange.kept_bytes > 0)
        await client.send(b"4\r\nfour\r\n0\r\n\r\n")
        assert b"three" not in upstream.octets
        guard.go_on()
        response = await client.response()
        assert (response.status, response.body) == (200, b"ok")
        assert upstream.octets == b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n4\r\nfour\r\n0\r\n\r\n"


@pytest.mark.parametrize("is_released", [False, True])
async def test_a_large_upload_fills_no_memory_meanwhile(is_released: bool) -> None:
    """Held for it may not pass; or released again, while the upstream does not keep up."""
    upstream = Uploaded()
    upstream.reads.clear()
    async with guarded(upstream, UPLOAD) as (plane, client, exchange):
        guard = Guard(exchange)
        exchange.guard_by(guard)
        part = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
        sending = asyncio.create_task(client.send(part * 600 + b"0\r\n\r\n"))
        if is_released:
            connection = exchange._connection
            assert connection is not None
            await plane.until(lambda: connection.is_stalled)
            guard.may_pass()
            exchange.hold()
            guard.go_on()
        else:
            guard.allows = False
        at = client.writer.transport.get_write_buffer_size()
        for _ in range(100):
            await asyncio.sleep(0.005)
            if client.writer.transport.get_write_buffer_size() == at and exchange.kept_bytes:
                break
            at = client.writer.transport.get_write_buffer_size()
        assert 0 < exchange.kept_bytes < _MOST_KEPT
        upstream.reads.set()
        if not is_released:
            guard.go_on()
        await sending
        response = await client.response()
        assert response.status == 200
        assert upstream.octets.count(b"x") == 600 * 0x8000


class Ending(Guard):
    """Refuses as soon as it is asked."""

    def may_pass(self) -> bool:
        self._exchange.break_off(Denial(Reason.SESSION_REVOKED))
        return False


async def test_who_is_refused_while_it_uploads_is_read_on_until_it_has_seen_why() -> None:
    """In chunks so small that they are read in several turns: the first of them ends it all."""
    upstream = Uploaded()
    async with guarded(upstream, UPLOAD) as (plane, client, exchange):
        await plane.until(lambda: b"one" in upstream.octets)
        exchange.guard_by(Ending(exchange))
        [downstream] = plane.server._downstreams
        client.writer.write(b"1\r\na\r\n" * 60_000)
        assert (await client.response()).status == 401
        await plane.until(lambda: downstream._drained > 0)
        client.writer.write_eof()
        # Not reset: the rest was taken, and then both ends were closed.
        assert await client.reader.read() == b""


async def test_who_still_waits_is_refused() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_head(reader)
        asked.set()
        try:
            await reader.read()
        finally:
            gone.set()

    async with guarded(serve, request()) as (_, client, exchange):
        await asked.wait()
        exchange.guard_by(Guard(exchange))
        exchange.break_off(Denial(Reason.SESSION_REVOKED))
        response = await client.response()
        assert response.status == 401
        await gone.wait()


async def test_an_interim_answer_is_asked_about_as_well() -> None:
    hinted, go_on = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        await hinted.wait()
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </secret>\r\n\r\n")
        await go_on.wait()
        writer.write(OK)
        await writer.drain()

    async with guarded(serve, request()) as (plane, client, exchange):
        guard = Guard(exchange)
        guard.allows = False
        exchange.guard_by(guard)
        hinted.set()
        await plane.until(lambda: exchange._is_halted)
        guard.go_on()
        go_on.set()
        response = await client.response()
        assert response.status == 200


@pytest.mark.parametrize("allows", [True, False])
async def test_what_may_not_pass_is_not_sent_a_second_time(allows: bool) -> None:
    asked, closes = asyncio.Event(), asyncio.Event()
    served: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(await read_head(reader))
        writer.write(OK)
        served.append(await read_head(reader))
        asked.set()
        await closes.wait()

    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        assert (await client.get()).status == 200
        await client.send(request())
        await asked.wait()
        [exchange] = plane.pool.under_way()
        guard = Guard(exchange)
        guard.allows = allows
        exchange.guard_by(guard)
        closes.set()
        assert (await client.response()).status == (200 if allows else 503)
        await plane.until(lambda: len(served) == 2 + allows)
        client.reset()


@pytest.mark.parametrize("ends", [True, False])
async def test_who_waits_for_a_connection_is_asked_about_before_the_request_leaves(
    ends: bool,
) -> None:
    """Refused while it waits; or not known yet when a connection is free."""
    holding = Holding("/first")
    async with ScriptedUpstream(holding) as upstream:
        settings = Upstream(url=upstream.url, connections=1)
        async with running_plane(upstream.url, upstream=settings) as plane:
            first, second, third = [await plane.client() for _ in range(3)]
            await first.send(request("/first"))
            await holding.asked.wait()
            await second.send(request("/second"))
            await plane.until(lambda: len(plane.pool.under_way()) == 2)
            exchange = plane.pool.under_way()[1]
            guard = Guard(exchange)
            exchange.guard_by(guard)
            if ends:
                exchange.break_off(Denial(Reason.SESSION_REVOKED))
                assert (await second.response()).status == 401
            guard.allows = False
            holding.gate.set()
            assert (await first.response()).status == 200
            if not ends:
                assert (await second.response()).status == 503
            assert (await third.get()).status == 200
            assert plane.pool.statistics.opened == 1
            for client in (first, second, third):
                client.reset()

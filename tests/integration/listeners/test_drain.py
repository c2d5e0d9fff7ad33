"""The end of a listener: who is in the queue gets an answer, not a reset."""

import asyncio
import socket
from pathlib import Path

import pytest

from sidecar.listen.acceptor import Acceptor
from sidecar.listen.opening import Opening
from sidecar.listen.sockets import bound_address, open_listeners
from sidecar.settings.address import TcpAddress, UnixAddress
from sidecar.settings.schema import Deadlines, Listen, Tls
from tests.certificates import Authority
from tests.plane import (
    OK,
    Plane,
    RawClient,
    ScriptedUpstream,
    fields_of,
    read_request,
    replying,
    request,
    running_plane,
)
from tests.tls_clients import trusting

ASKED = request("/")


def queued(plane: Plane, count: int) -> list[socket.socket]:
    """Clients that have connected and asked, while nobody accepts."""
    clients = []
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", plane.port), timeout=10)
        sock.sendall(ASKED)
        clients.append(sock)
    return clients


def answer_of(sock: socket.socket) -> bytes:
    answer = b""
    with sock:
        while piece := sock.recv(65536):
            answer += piece
    return answer


async def test_the_queue_is_served_at_the_end() -> None:
    serve, _ = replying(OK)
    async with ScriptedUpstream(serve) as upstream:
        async with running_plane(upstream.url) as plane:
            # The loop does not turn here, so they are all in the kernel's queue.
            clients = queued(plane, 40)
        answers = [await asyncio.to_thread(answer_of, sock) for sock in clients]
    assert [answer[:15] for answer in answers] == 40 * [b"HTTP/1.1 200 OK"]
    assert all(b"\r\nConnection: close\r\n" in answer for answer in answers)


async def test_what_comes_after_is_refused_by_the_kernel() -> None:
    serve, _ = replying(OK)
    async with ScriptedUpstream(serve) as upstream:
        async with running_plane(upstream.url) as plane:
            port = plane.port
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_a_fresh_connection_gets_a_moment_for_its_request() -> None:
    serve, _ = replying(OK)
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        served, fresh, silent = [await plane.client() for _ in range(3)]
        assert (await served.get("/")).status == 200
        await plane.until(lambda: plane.server.open_connections == 3)
        plane.server.pre_shutdown()
        assert await served.at_end(), "it had its request"
        answer = await fresh.get("/")
        assert (answer.status, fields_of(answer.head)["connection"]) == (200, "close")
        assert await silent.at_end()
        for client in (served, fresh, silent):
            client.close()


async def test_handshakes_under_way_are_waited_for(tls: Tls, authority: Authority) -> None:
    serve, _ = replying(OK)
    context = trusting(authority)

    async def ask(sock: socket.socket) -> int:
        streams = await asyncio.open_connection(sock=sock, ssl=context, server_hostname="localhost")
        client = RawClient(*streams)
        status = (await client.get("/")).status
        client.close()
        return status

    async with ScriptedUpstream(serve) as upstream:
        async with running_plane(upstream.url, listen=Listen(tls=tls)) as plane:
            stalled = await plane.client()
            queue = socket.create_connection(("127.0.0.1", plane.port))
            queue.setblocking(False)
            asking = asyncio.create_task(ask(queue))
        assert await asking == 200
        assert await stalled.at_end(), "but not for ever"
        stalled.close()


async def test_a_unix_socket_drains_as_well(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "s"))
    serve, _ = replying(OK)
    listen = Listen(deadlines=Deadlines(drain_seconds=1))
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listen) as plane,
    ):
        for _ in range(2):  # the second finds the file that the first left
            listeners = open_listeners(address, 10)
            assert bound_address(listeners[0]) == address
            acceptor = Acceptor(Opening(plane.server), plane.server.is_full)
            acceptor.start(listeners)
            reader, writer = await asyncio.open_unix_connection(address.path)
            writer.write(ASKED)
            await acceptor.stop()
            assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 ")
            writer.close()
        assert plane.ended[0].peer.address == "unix"


async def test_a_full_worker_leaves_connections_to_its_siblings() -> None:
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        asked.set()
        writer.write(OK)

    full = [True]
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        listeners = open_listeners(TcpAddress("127.0.0.1", 0), 10)
        acceptor = Acceptor(Opening(plane.server), lambda: full[0], has_siblings=True)
        acceptor.start(listeners)
        port = listeners[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ASKED)
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert (asked.is_set(), acceptor.refused) == (False, 0), "it waits in the queue"
        full[0] = False
        assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await acceptor.stop()

"""PROXY headers before requests and before TLS: whose word counts, and what happens to the rest."""

import asyncio
import ssl

import pytest

from sidecar.settings.schema import Deadlines, Forwarded, Limits, Listen, Tls
from tests.certificates import Authority
from tests.plane import OK, Plane, ScriptedUpstream, fields_of, replying, request, running_plane
from tests.tls_clients import ask, connected, trusting
from tests.unit.parse.test_proxy_protocol import V4, block

V1 = b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n"
V2 = block(0x11, V4, additions=b"\x04\x00\x40" + 64 * b"\0")
LOCAL = block(0x00, b"", command=0x20)
HERE = ("127.0.0.0/8",)
ASKED = request("/", "Connection: close", "X-Forwarded-For: 203.0.113.9")


def listening(
    tls: Tls | None = None, *, seconds: float = 5.0, trusted: tuple[str, ...] = HERE
) -> Listen:
    return Listen(
        proxy_protocol="required",
        proxy_protocol_from=trusted,
        tls=tls,
        deadlines=Deadlines(handshake_seconds=seconds),
        limits=Limits(connections=3),
    )


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize("before", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
async def test_the_client_is_the_one_the_header_names(
    before: bytes, step: int, is_tls: bool, tls: Tls, authority: Authority
) -> None:
    serve, seen = replying(OK)
    context = trusting(authority) if is_tls else None
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening(tls if is_tls else None)) as plane,
    ):
        answer = await ask(plane.port, ASKED, before=before, context=context, step=step)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\nok")
        fields = fields_of(seen[0][0])
        assert fields["x-forwarded-for"] == "192.0.2.7"
        assert fields["x-forwarded-proto"] == ("https" if is_tls else "http")
        assert plane.ended[0].peer.address == "192.0.2.7"


async def test_a_header_and_two_requests_in_one_segment() -> None:
    serve, seen = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening()) as plane,
    ):
        answer = await ask(plane.port, request("/1") + ASKED, before=V2)
        assert answer.count(b"HTTP/1.1 200") == 2
        assert len(seen) == 2


async def test_a_health_check_of_the_load_balancer_is_its_own() -> None:
    serve, _ = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening()) as plane,
    ):
        await ask(plane.port, ASKED, before=LOCAL)
        assert plane.ended[0].peer.address == "127.0.0.1"


@pytest.mark.parametrize(
    "before", [LOCAL, b"PROXY UNKNOWN\r\n", block(0x00, b"")], ids=["local", "unknown", "unspec"]
)
async def test_the_trust_in_a_load_balancer_is_not_for_those_it_does_not_name(
    before: bytes,
) -> None:
    serve, seen = replying(OK)
    trusted = Forwarded(trusted=HERE)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening(), forwarded=trusted) as plane,
    ):
        await ask(plane.port, ASKED, before=before)
        assert fields_of(seen[0][0])["x-forwarded-for"] == "127.0.0.1"
        assert not plane.ended[0].peer.is_trusted


async def test_the_fields_of_a_client_are_believed_if_it_is_a_trusted_proxy_itself() -> None:
    serve, seen = replying(OK)
    trusted = Forwarded(trusted=("192.0.2.0/24", "127.0.0.0/8", "unix"))
    local = block(0x31, bytes(216))
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening(), forwarded=trusted) as plane,
    ):
        await ask(plane.port, ASKED, before=V1)
        await ask(plane.port, ASKED, before=b"PROXY TCP4 198.51.100.1 10.0.0.1 1 2\r\n")
        await ask(plane.port, ASKED, before=local)
    assert [fields_of(head)["x-forwarded-for"] for head, _ in seen] == [
        "203.0.113.9, 192.0.2.7",
        "198.51.100.1",
        # A socket on the load balancer's machine is none of ours.
        "unix",
    ]


async def _refused(plane: Plane, octets: bytes) -> None:
    """Closed without an answer."""

    def talk() -> bytes:
        with connected(plane.port) as sock:
            try:
                sock.sendall(octets)
                return sock.recv(100)
            except ConnectionResetError:
                return b""

    assert await asyncio.to_thread(talk) == b""


@pytest.mark.parametrize(
    ("octets", "cause"),
    [
        (ASKED, "proxy-malformed"),
        (b"\x16\x03\x01\x02\x00\x01", "proxy-malformed"),
        (b"PROXY TCP4 1.2.3 10.0.0.1 1 2\r\n" + ASKED, "proxy-malformed"),
        (V1 + V1 + ASKED, ""),
        (V1[:-9], "timeout"),
        (b"", "timeout"),
        (V2[:20], "timeout"),
    ],
)
async def test_what_is_no_header_gets_no_answer(octets: bytes, cause: str) -> None:
    serve, seen = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening(seconds=0.3)) as plane,
    ):
        if cause:
            await _refused(plane, octets)
            assert plane.opening.failed == {cause: 1}
        else:
            # The second is a malformed request of the client that the first one names.
            answer = await ask(plane.port, ASKED, before=V1 + V1)
            assert answer.startswith(b"HTTP/1.1 400 ")
        assert not plane.server.is_full(), "it gave its place back"
        assert (await ask(plane.port, ASKED, before=V1)).startswith(b"HTTP/1.1 200")
        assert len(seen) == 1


async def test_nobody_else_may_send_one() -> None:
    serve, seen = replying(OK)
    listen = listening(trusted=("10.0.0.0/8", "unix"))
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listen) as plane,
    ):
        await _refused(plane, V1 + ASKED)
        assert plane.opening.failed == {"proxy-untrusted": 1}
        assert not seen


async def test_a_client_that_leaves_in_the_header() -> None:
    serve, _ = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening()) as plane,
    ):
        with connected(plane.port) as sock:
            sock.sendall(V1[:10])
        await plane.until(lambda: plane.opening.failed == {"reset": 1})


async def test_waiting_for_headers_takes_places_and_gives_them_back() -> None:
    serve, _ = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening(seconds=1.0)) as plane,
    ):
        clients = [await plane.client() for _ in range(3)]
        await plane.until(plane.server.is_full)
        await _refused(plane, V1 + ASKED)
        assert plane.acceptor.refused == 1
        await plane.until(lambda: plane.opening.failed["timeout"] == 3)
        assert (await ask(plane.port, ASKED, before=V1)).startswith(b"HTTP/1.1 200")
        for client in clients:
            client.close()


async def test_tls_without_header_is_refused_before_the_handshake(
    tls: Tls, authority: Authority
) -> None:
    serve, _ = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening(tls)) as plane,
    ):
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await plane.client(trusting(authority))
        assert plane.opening.failed == {"proxy-malformed": 1}

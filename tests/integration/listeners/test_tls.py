"""TLS with clients: handshakes, bodies, ends, certificates, and their renewal under load."""

import asyncio
import contextlib
import logging
import os
import shutil
import ssl
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from sidecar.settings.schema import Deadlines, Limits, Listen, Tls, Upstream
from tests.certificates import Authority, Leaf
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
from tests.tls_clients import TlsSocket, connected, trusting

ORDERS = "spiffe://prod.example.com/ns/shop/sa/orders"


def listening(tls: Tls, **deadlines: float) -> Listen:
    limits = Limits(connections=50, slowest_download_bytes_per_second=10_000_000)
    return Listen(tls=tls, deadlines=Deadlines(**deadlines), limits=limits)


def mutual(tls: Tls, authority: Authority, folder: Path, asked: str = "required") -> Listen:
    ca = authority.write(folder, "client-ca")
    return Listen(tls=msgspec.structs.replace(tls, client_ca=ca, client_certificate=asked))


async def test_requests_over_tls(tls: Tls, authority: Authority) -> None:
    serve, seen = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening(tls)) as plane,
    ):
        client = await plane.client(trusting(authority))
        for _ in range(3):
            assert (await client.get("/")).body == b"ok"
        assert client.writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert fields_of(seen[0][0])["x-forwarded-proto"] == "https"
        assert plane.server.open_connections == 1
        client.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="no `curl` on PATH")
async def test_curl_is_served(tls: Tls, authority: Authority, tmp_path: Path) -> None:
    serve, _ = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening(tls)) as plane,
    ):
        curl = await asyncio.create_subprocess_exec(
            "curl", "-sS", "--fail", "--http2", "--cacert", authority.write(tmp_path),
            "-w", " %{http_version}", f"https://localhost:{plane.port}/", f"https://localhost:{plane.port}/",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await curl.communicate()
        assert (curl.returncode, out) == (0, b"ok 1.1ok 1.1")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["h2", "http/1.1"], "http/1.1"), (["h2"], None), (["http/1.0"], None)],
)
async def test_only_http_1_1_is_agreed_on(
    offered: list[str], chosen: str | None, tls: Tls, authority: Authority
) -> None:
    serve, _ = replying(OK)
    context = trusting(authority)
    context.set_alpn_protocols(offered)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening(tls)) as plane,
    ):
        client = await plane.client(context)
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == chosen
        client.close()


async def test_older_versions_are_refused(tls: Tls, authority: Authority) -> None:
    serve, _ = replying(OK)
    context = trusting(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    for minimum, is_served in (("1.2", True), ("1.3", False)):
        listen = listening(msgspec.structs.replace(tls, minimum_version=minimum))
        async with (
            ScriptedUpstream(serve) as upstream,
            running_plane(upstream.url, listen=listen) as plane,
        ):
            refused = pytest.raises((ssl.SSLError, ConnectionError))
            with contextlib.nullcontext() if is_served else refused:
                (await plane.client(context)).close()
            assert plane.opening.failed == ({} if is_served else {"tls": 1})


async def test_what_is_no_tls_is_closed(tls: Tls) -> None:
    serve, seen = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening(tls)) as plane,
    ):
        client = await plane.client()
        await client.send(request("/"))
        assert b"HTTP" not in await client.reader.read(1000)
        assert plane.opening.failed == {"tls": 1}
        assert not seen
        client.close()


@pytest.mark.parametrize("octets", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
async def test_a_handshake_that_stalls_ends(octets: bytes, tls: Tls, authority: Authority) -> None:
    serve, _ = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening(tls, handshake_seconds=0.2)) as plane,
    ):
        client = await plane.client()
        await client.send(octets)
        assert await client.at_end()
        assert plane.opening.failed == {"timeout": 1}
        assert plane.server.open_connections == 0
        client.close()
        other = await plane.client(trusting(authority))
        assert (await other.get("/")).status == 200
        other.close()


async def test_a_client_that_leaves_in_the_handshake(tls: Tls) -> None:
    serve, _ = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening(tls)) as plane,
    ):
        for leave in (RawClient.close, RawClient.reset):
            client = await plane.client()
            await client.send(b"\x16\x03\x01\x02\x00")
            leave(client)
        await plane.until(lambda: plane.opening.failed == {"reset": 2})


async def test_bodies_both_ways_under_back_pressure(tls: Tls, authority: Authority) -> None:
    body = bytes(range(256)) * 16_384

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, payload = await read_request(reader)
        assert payload == body
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), 65536):
            writer.write(body[start : start + 65536])
            await writer.drain()

    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening(tls)) as plane,
    ):
        client = await plane.client(trusting(authority))
        await client.send(request("/", f"Content-Length: {len(body)}", method="POST", body=body))
        assert (await client.response()).body == body
        client.close()


async def test_a_truncated_answer_is_no_clean_end(tls: Tls, authority: Authority) -> None:
    """An HTTP/1.0 client knows the end of this body by the end of the connection only."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it")
        await writer.drain()

    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening(tls)) as plane,
    ):
        client = await plane.client(trusting(authority))
        await client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)):
            answer = await client.reader.read(-1)
            assert not answer, "a clean end after a part of the body"
            raise ConnectionResetError
        client.close()


async def test_an_early_refusal_arrives_although_the_body_goes_on(
    tls: Tls, authority: Authority
) -> None:
    serve, _ = replying(OK)
    listen = msgspec.structs.replace(listening(tls), limits=Limits(body_bytes=1000))
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listen) as plane,
    ):
        client = await plane.client(trusting(authority))
        client.writer.write(request("/", "Content-Length: 300000", method="POST"))
        client.writer.write(300_000 * b"x")
        assert (await client.response()).status == 413
        client.close()


async def test_a_client_that_never_ends_tls_is_not_waited_for(
    tls: Tls, authority: Authority
) -> None:
    serve, _ = replying(OK)
    context = trusting(authority)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening(tls, tls_shutdown_seconds=0.2)) as plane,
    ):
        with connected(plane.port) as sock:
            client = TlsSocket(sock, context)
            await asyncio.to_thread(client.handshake, b"", 0)
            await asyncio.to_thread(client.ask, request("/", "Connection: close"))
            # It has seen our end, and neither says anything nor closes.
            assert plane.ended[0].status == 200
            await plane.until(lambda: plane.server.open_connections == 0)


async def test_a_client_that_reads_nothing_is_reset(tls: Tls, authority: Authority) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            writer.write(bytes(65536))
            await writer.drain()

    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening(tls, write_stall_seconds=0.2)) as plane,
    ):
        client = await plane.client(trusting(authority))
        await client.send(request("/"))
        client.writer.transport.pause_reading()  # type: ignore[attr-defined] # it can
        await plane.until(lambda: plane.server.open_connections == 1)
        await plane.until(lambda: plane.server.open_connections == 0)
        assert plane.ended[0].bytes_out < 20_000_000, "back-pressure reached the upstream"
        client.reset()


async def test_the_end_of_tls_ends_the_exchange(
    tls: Tls, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Half of a TLS connection cannot stay open here: whoever ends it is gone."""
    answered = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        asked.set()
        await answered.wait()

    asked = asyncio.Event()
    with caplog.at_level(logging.WARNING):
        async with (
            ScriptedUpstream(serve) as upstream,
            running_plane(upstream.url, listen=listening(tls)) as plane,
        ):
            client = await plane.client(trusting(authority))
            await client.send(request("/"))
            await asked.wait()
            client.close()
            await plane.until(lambda: len(plane.ended) == 1)
            assert plane.ended[0].status == 0
            await plane.until(lambda: plane.server.open_connections == 0)
    assert not caplog.records


# -- Certificates of clients ----------------------------------------------------------------


async def _served(plane: Plane, context: ssl.SSLContext) -> bool:
    """Whether a request of such a client is answered; TLS 1.3 refuses after its handshake."""
    client = None
    try:
        client = await plane.client(context)
        return (await client.get("/")).status == 200
    except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
        return False
    finally:
        if client is not None:
            client.close()


@pytest.mark.parametrize("asked", ["required", "optional"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_whose_certificates_are_accepted(
    asked: str, version: ssl.TLSVersion, tls: Tls, authority: Authority, tmp_path: Path
) -> None:
    serve, _ = replying(OK)
    other = Authority("Somebody Else")
    cases: dict[str, tuple[Leaf | None, bool]] = {
        "good": (authority.issue("a", uris=[ORDERS]), True),
        "none": (None, asked == "optional"),
        "of another authority": (other.issue("a", uris=[ORDERS]), False),
        "expired": (authority.issue("a", uris=[ORDERS], begins=-2, days=-1), False),
        "not valid yet": (authority.issue("a", uris=[ORDERS], begins=1, days=2), False),
    }
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=mutual(tls, authority, tmp_path, asked)) as plane,
    ):
        outcomes = {}
        for name, (leaf, _) in cases.items():
            context = trusting(authority, leaf, tmp_path)
            context.maximum_version = version
            outcomes[name] = await _served(plane, context)
        assert outcomes == {name: expected for name, (_, expected) in cases.items()}
        certificate = plane.ended[0].peer.certificate
        assert certificate is not None
        assert (certificate.trust_domain, certificate.path) == (
            "prod.example.com",
            "ns/shop/sa/orders",
        )
        refused = 4 if asked == "required" else 3
        assert plane.opening.failed == {"tls": refused}


async def test_clients_are_not_asked_where_nobody_cares(
    tls: Tls, authority: Authority, tmp_path: Path
) -> None:
    serve, _ = replying(OK)
    leaf = Authority("Somebody Else").issue("a")
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listening(tls)) as plane,
    ):
        assert await _served(plane, trusting(authority, leaf, tmp_path))
        assert plane.ended[0].peer.certificate is None


# -- Renewal --------------------------------------------------------------------------------


class Secret:
    """A volume of Kubernetes: files that are links into a folder whose link is swapped."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._number = 0

    def put(self, **content: bytes) -> None:
        """Replace all files at once."""
        self._number += 1
        fresh = self._folder / f"..{self._number}"
        fresh.mkdir()
        for name, octets in content.items():
            (fresh / name).write_bytes(octets)
        link = self._folder / "..data_tmp"
        link.symlink_to(fresh.name)
        link.replace(self._folder / "..data")
        for name in content:
            outside = self._folder / name
            if not outside.is_symlink():
                outside.symlink_to(Path("..data") / name)

    def __getitem__(self, name: str) -> str:
        return str(self._folder / name)


def _serial(client: RawClient) -> int:
    """The serial number of the certificate that the server presented."""
    der = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(der).serial_number


async def test_renewal_under_load_fails_no_request(authority: Authority, tmp_path: Path) -> None:
    serve, _ = replying(OK)
    secret = Secret(tmp_path / "secret")
    leaf = authority.server()
    secret.put(crt=leaf.pem, key=leaf.key)
    tls = Tls(certificate=secret["crt"], key=secret["key"], reload_seconds=0.02)
    context = trusting(authority)
    serials: set[int] = set()
    served = 0
    is_over = False

    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=Listen(tls=tls)) as plane,
    ):

        async def ask(*, anew: bool) -> None:
            nonlocal served
            client = await plane.client(context)
            while not is_over:
                assert (await client.get("/")).status == 200
                served += 1
                if anew:
                    serials.add(_serial(client))
                    client.close()
                    client = await plane.client(context)
            client.close()

        load = [asyncio.create_task(ask(anew=number % 2 == 0)) for number in range(4)]
        expected = {leaf.certificate.serial_number}
        for _ in range(4):
            leaf = authority.server()
            expected.add(leaf.certificate.serial_number)
            secret.put(crt=leaf.pem, key=leaf.key)
            async with asyncio.timeout(10):
                while leaf.certificate.serial_number not in serials:
                    await asyncio.sleep(0.01)
        is_over = True
        await asyncio.gather(*load)
        assert serials == expected
        assert served > 20
        assert plane.tls is not None
        assert (plane.tls.reloaded, plane.tls.failed) == (4, 0)
        assert plane.opening.failed == {}


async def test_a_bad_renewal_changes_nothing_until_it_is_mended(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    serve, _ = replying(OK)
    secret = Secret(tmp_path / "secret")
    first, second = authority.server(), authority.server()
    secret.put(crt=first.pem, key=first.key)
    tls = Tls(certificate=secret["crt"], key=secret["key"], reload_seconds=0.02)
    context = trusting(authority)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=Listen(tls=tls)) as plane,
    ):
        files = plane.tls
        assert files is not None
        for number, bad in enumerate(
            (
                {"crt": second.pem, "key": first.key},
                {"crt": b"garbage", "key": second.key},
                {"crt": second.pem},
            ),
            start=1,
        ):
            secret.put(**bad)
            if "key" not in bad:
                os.unlink(secret["key"])  # noqa: PTH108 - as the volume would
            await plane.until(lambda expected=number: files.failed >= expected)  # type: ignore[misc]
            client = await plane.client(context)
            assert _serial(client) == first.certificate.serial_number
            client.close()
        secret.put(crt=second.pem, key=second.key)
        await plane.until(lambda: files.reloaded == 1)
        client = await plane.client(context)
        assert _serial(client) == second.certificate.serial_number
        client.close()
    assert "what was before stays" in caplog.text
    assert "PRIVATE" not in caplog.text


async def test_other_authorities_part_with_those_they_do_not_know(
    authority: Authority, tmp_path: Path
) -> None:
    serve, _ = replying(OK)
    before, after = Authority("Before"), Authority("After")
    secret = Secret(tmp_path / "secret")
    server = authority.server()
    secret.put(crt=server.pem, key=server.key, ca=before.pem)
    tls = Tls(
        certificate=secret["crt"],
        key=secret["key"],
        client_ca=secret["ca"],
        client_certificate="optional",
        reload_seconds=0.02,
    )
    old, new = (each.issue("a", uris=[ORDERS]) for each in (before, after))
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=Listen(tls=tls)) as plane,
    ):
        nobody = await plane.client(trusting(authority))
        known = await plane.client(trusting(authority, old, tmp_path))
        fresh = await plane.client(trusting(authority, old, tmp_path))
        assert (await known.get("/")).status == 200
        assert (await nobody.get("/")).status == 200
        secret.put(crt=server.pem, key=server.key, ca=after.pem)
        assert await known.at_end()
        assert await fresh.at_end()
        assert not await _served(plane, trusting(authority, old, tmp_path))
        assert await _served(plane, trusting(authority, new, tmp_path))
        assert (await nobody.get("/")).status == 200, "it presented no certificate"
        for client in (nobody, known, fresh):
            client.close()


async def test_an_answer_under_way_is_finished_before_parting(
    authority: Authority, tmp_path: Path
) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        asked.set()
        await go_on.wait()
        writer.write(OK)
        await writer.drain()
        await reader.read(1)

    server, leaf = authority.server(), authority.issue("a")
    certificate, key = server.write(tmp_path, "server")
    ca = authority.write(tmp_path)
    tls = Tls(
        certificate=certificate, key=key, client_ca=ca, client_certificate="required",
        reload_seconds=0.02,
    )  # fmt: skip
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=Listen(tls=tls), upstream=Upstream(url="")) as plane,
    ):
        client = await plane.client(trusting(authority, leaf, tmp_path))
        await client.send(request("/"))
        await asked.wait()
        Authority("After").write(tmp_path)
        assert plane.tls is not None
        await plane.until(lambda: plane.tls is not None and plane.tls.reloaded == 1)
        go_on.set()
        assert (await client.response()).body == b"ok"
        assert await client.at_end()
        client.close()


async def test_who_pipelines_parts_from_other_authorities_as_soon(
    authority: Authority, tmp_path: Path
) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()
    targets: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await read_request(reader)
            targets.append(head.split(b" ")[1])
            asked.set()
            await go_on.wait()
            writer.write(OK)
            await writer.drain()

    certificate, key = authority.server().write(tmp_path, "server")
    tls = Tls(
        certificate=certificate, key=key, client_ca=authority.write(tmp_path),
        client_certificate="required", reload_seconds=0.02,
    )  # fmt: skip
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=Listen(tls=tls), upstream=Upstream(url="")) as plane,
    ):
        client, half = [
            await plane.client(trusting(authority, authority.issue("a"), tmp_path)) for _ in "ab"
        ]
        await half.send(b"GET /half HTTP/1.1\r\n")
        await client.send(request("/1") + request("/2") + request("/3"))
        await asked.wait()
        Authority("After").write(tmp_path)
        await plane.until(lambda: plane.tls is not None and plane.tls.reloaded == 1)
        await half.send(b"Host: a\r\n\r\n")
        go_on.set()
        first = await client.response()
        assert (first.body, first.fields["connection"]) == (b"ok", "close")
        await client.send(request("/4"))
        assert await client.at_end()
        assert await half.at_end()
        assert targets == [b"/1"]
        client.close()
        half.close()


async def test_who_is_not_believed_any_more_gets_no_websocket(
    authority: Authority, tmp_path: Path
) -> None:
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        asked.set()
        await reader.read(1)

    certificate, key = authority.server().write(tmp_path, "server")
    tls = Tls(
        certificate=certificate, key=key, client_ca=authority.write(tmp_path),
        client_certificate="required", reload_seconds=0.02,
    )  # fmt: skip
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=Listen(tls=tls), upstream=Upstream(url="")) as plane,
    ):
        client = await plane.client(trusting(authority, authority.issue("a"), tmp_path))
        await client.send(request("/"))
        await asked.wait()
        Authority("After").write(tmp_path)
        await plane.until(lambda: plane.tls is not None and plane.tls.reloaded == 1)
        (downstream,) = plane.server._downstreams
        assert downstream.hand_over() is None
        assert await client.at_end()
        client.close()


@pytest.mark.parametrize("presents", [True, False])
async def test_a_handshake_that_outlasts_its_authorities_is_in_vain(
    presents: bool, authority: Authority, tmp_path: Path
) -> None:
    serve, seen = replying(OK)
    certificate, key = authority.server().write(tmp_path, "server")
    tls = Tls(
        certificate=certificate, key=key, client_ca=authority.write(tmp_path),
        client_certificate="optional", reload_seconds=0.02,
    )  # fmt: skip
    leaf = authority.issue("a") if presents else None
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=Listen(tls=tls)) as plane,
    ):
        with connected(plane.port) as sock:
            spoken = TlsSocket(sock, trusting(authority, leaf, tmp_path))
            # Only what is answered tells that the server's part of it has begun.
            await asyncio.to_thread(spoken.greet)
            Authority("After").write(tmp_path)
            await plane.until(lambda: plane.tls is not None and plane.tls.reloaded == 1)
            await asyncio.to_thread(spoken.handshake, b"", 0)
            asking = asyncio.to_thread(spoken.ask, request("/", "Connection: close"))
            if presents:
                with contextlib.suppress(ConnectionError):
                    assert await asking == b""
            else:
                assert (await asking).startswith(b"HTTP/1.1 200 ")
            assert len(seen) == (0 if presents else 1)

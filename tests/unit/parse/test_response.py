import pytest

from sidecar.parse.framing import UpstreamMalformedError
from sidecar.parse.response import ResponseReader


@pytest.fixture
def reader() -> ResponseReader:
    return ResponseReader(most_fields=10)


def test_a_head(reader: ResponseReader) -> None:
    answer = reader.read(b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nX:  y \r\n\r\n")
    assert (answer.status, answer.minor) == (200, 1)
    assert answer.repeated == {b"set-cookie": [b"a", b"b"]}
    assert answer.value(b"x") == b"y"


@pytest.mark.parametrize("line", [b"HTTP/1.1 200", b"HTTP/1.0 200 ", b"HTTP/1.1 299 M\xe9h"])
def test_status_lines(reader: ResponseReader, line: bytes) -> None:
    assert reader.read(line + b"\r\n\r\n").status in {200, 299}


def test_an_upgrade_is_only_a_head(reader: ResponseReader) -> None:
    octets = b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert reader.read(octets).status == 101


@pytest.mark.parametrize(
    "octets",
    [
        b"HTTP/1.1 000 x\r\n\r\n",
        b"HTTP/2 200 x\r\n\r\n",
        b"HTTP/1.1  200 x\r\n\r\n",
        b"HTTP/1.1 20 x\r\n\r\n",
        b"HTTP/1.1 200 a\x00b\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\x00\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 11 + b"\r\n",
    ],
)
def test_malformed_heads(reader: ResponseReader, octets: bytes) -> None:
    with pytest.raises(UpstreamMalformedError):
        reader.read(octets)
    assert reader.read(b"HTTP/1.1 204 x\r\n\r\n").status == 204

import pytest

from sidecar.parse import host
from sidecar.parse.host import read_authority


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"example.com", ("example.com", b"example.com")),
        (b"Example.COM:8080", ("example.com", b"example.com:8080")),
        (b"example.com.", ("example.com", b"example.com.")),
        (b"my_service.ns.svc:80", ("my_service.ns.svc", b"my_service.ns.svc:80")),
        (b"127.0.0.1:1", ("127.0.0.1", b"127.0.0.1:1")),
        (b"[::1]:8080", ("[::1]", b"[::1]:8080")),
    ],
)
def test_well_formed(raw: bytes, expected: tuple[str, bytes]) -> None:
    assert read_authority(raw) == expected
    assert read_authority(raw) == expected, "remembered, it is the same"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"a b",
        b"user@example.com",
        b"example.com:",
        b"example.com:99999",
        b"example.com:-1",
        b"a..b",
        b".a",
        b"-a",
        b"a/b",
        b"a,b",
        b"[::1",
        b"::1",
        b"a:1:2",
        b"\xc3\xa9.example",
        b"a" * 256,
    ],
)
def test_malformed(raw: bytes) -> None:
    assert read_authority(raw) is None


def test_remembering_is_bounded() -> None:
    """Random hosts must not fill memory."""
    for number in range(3000):
        read_authority(b"host-%d" % number)
    assert len(host._remembered) <= 1024

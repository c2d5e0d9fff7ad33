import pytest

from sidecar.settings.address import (
    TcpAddress,
    UnixAddress,
    is_loopback,
    parse_address,
    parse_upstream,
)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("localhost:0", "localhost", 0),
        ("my_app.example.com:65535", "my_app.example.com", 65535),
        ("[::1]:80", "::1", 80),
        ("[0:0:0:0:0:0:0:1]:80", "::1", 80),
        ("a:1", "a", 1),
    ],
)
def test_host_and_port(text: str, host: str, port: int) -> None:
    assert parse_address(text) == TcpAddress(host, port)


def test_socket_path() -> None:
    assert parse_address("unix:/run/s.sock") == UnixAddress("/run/s.sock")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "host:port, [v6]:port or unix:/path"),
        ("localhost", "host:port, [v6]:port or unix:/path"),
        ("localhost:", "host:port, [v6]:port or unix:/path"),
        ("localhost:http", "host:port, [v6]:port or unix:/path"),
        ("localhost:٣", "host:port, [v6]:port or unix:/path"),
        (":8080", "host:port; the host is missing"),
        ("localhost:65536", "host:port with a port of at most 65535"),
        ("::1:80", "[v6]:port: IPv6 addresses stand in brackets"),
        ("[::g]:80", "[v6]:port with a valid IPv6 address"),
        ("[127.0.0.1]:80", "[v6]:port with a valid IPv6 address"),
        ("127.0.0.256:80", "host:port with a valid IPv4 address"),
        ("1.2.3:80", "host:port with a valid IPv4 address"),
        ("-a:80", "host:port with a valid host name"),
        ("a b:80", "host:port with a valid host name"),
        ("a..b:80", "host:port with a valid host name"),
        ("a.:80", "host:port with a valid host name"),
        (f"{'a' * 64}.b:80", "host:port with a valid host name"),
        (f"{'a' * 254}:80", "host:port with a valid host name"),
        ("http://a:80", "host:port, without http://"),
        ("unix:run/s", "unix: and an absolute path, such as unix:/run/sidecar.sock"),
        ("unix:/a\0b", "unix: and an absolute path, such as unix:/run/sidecar.sock"),
        (f"unix:/{'a' * 107}", "a socket path of at most 107 bytes"),
    ],
)
def test_what_is_no_address(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_address(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://app:9000", TcpAddress("app", 9000)),
        ("HTTP://app:9000/", TcpAddress("app", 9000)),
        ("http://app", TcpAddress("app", 80)),
        ("http://[::1]", TcpAddress("::1", 80)),
        ("http://[::1]:81", TcpAddress("::1", 81)),
        ("https://app", TcpAddress("app", 443)),
        ("https://[::1]:8443/", TcpAddress("::1", 8443)),
        ("unix:/run/app", UnixAddress("/run/app")),
    ],
)
def test_upstream(url: str, address: TcpAddress | UnixAddress) -> None:
    assert parse_upstream(url) == address


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("app:9000", "http://host:port, https://host:port or unix:/path"),
        ("ftp://app", "http://host:port, https://host:port or unix:/path"),
        ("https:app", "http://host:port, https://host:port or unix:/path"),
        (
            "http://app?a",
            "http://host:port without a path: what was authorized is forwarded as it is",
        ),
        (
            "http://app//",
            "http://host:port without a path: what was authorized is forwarded as it is",
        ),
        ("http://a:b@app", "http://host:port without user and password"),
        ("http://app:0", "http://host:port with a port from 1 to 65535"),
        ("http://", "host:port; the host is missing"),
    ],
)
def test_what_is_no_upstream(url: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_upstream(url)
    assert str(caught.value) == message


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.8.8", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.example.com", "0.0.0.0", "::", "10.0.0.1"])  # noqa: S104 - not bound to
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_addresses_are_written_as_they_are_read() -> None:
    for text in ("127.0.0.1:80", "[::1]:80", "unix:/run/s"):
        assert str(parse_address(text)) == text

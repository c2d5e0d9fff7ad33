import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from sidecar.listen.sockets import bound_address, open_listeners
from sidecar.settings.address import TcpAddress, UnixAddress


def test_a_free_port_is_told() -> None:
    (listener,) = open_listeners(TcpAddress("127.0.0.1", 0), 5)
    with listener:
        address = bound_address(listener)
        assert isinstance(address, TcpAddress)
        assert address.port
        assert not listener.getblocking()
        with pytest.raises(OSError, match="in use"):
            open_listeners(TcpAddress("127.0.0.1", address.port), 5)


def test_a_name_of_several_addresses_gets_a_socket_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    listeners = open_listeners(TcpAddress("localhost", 0), 5)
    assert [each.family for each in listeners] == [socket.AF_INET6, socket.AF_INET]
    assert listeners[0].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    for each in listeners:
        each.close()


def test_where_one_fails_none_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        # A socket that is left open warns, and warnings are errors.
        with pytest.raises(OSError, match="in use"):
            open_listeners(TcpAddress("localhost", port), 5)


def test_a_socket_that_was_left_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "s"
    for _ in range(2):
        (listener,) = open_listeners(UnixAddress(str(path)), 5)
        assert bound_address(listener) == UnixAddress(str(path))
        assert stat.S_ISSOCK(path.stat().st_mode)
        listener.close()
    path.unlink()
    path.write_text("somebody's")
    with pytest.raises(OSError, match="in use"):
        open_listeners(UnixAddress(str(path)), 5)
    assert path.read_text() == "somebody's"


@pytest.mark.parametrize("address", [TcpAddress("127.0.0.1", 0), UnixAddress("/none/at/all")])
def test_what_cannot_be_opened_is_closed(address: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    if isinstance(address, TcpAddress):
        monkeypatch.setattr(socket.socket, "listen", refuse)
    with pytest.raises(OSError):
        open_listeners(address, 5)

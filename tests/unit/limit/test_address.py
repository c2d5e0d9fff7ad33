"""Which client is counted: behind proxies that are believed, and only behind those."""

import pytest

from sidecar.limit.address import client_address, key_of

TRUSTED = {"10.0.0.1", "10.0.0.2", "fd00::1"}

CASES = [
    ("10.0.0.1", [], "10.0.0.1", "nothing is said"),
    ("10.0.0.1", [b"192.0.2.7"], "192.0.2.7", "one hop"),
    ("10.0.0.1", [b"198.51.100.9, 192.0.2.7"], "192.0.2.7", "what the client made up"),
    ("10.0.0.1", [b"192.0.2.7, 10.0.0.2"], "192.0.2.7", "two proxies"),
    ("10.0.0.1", [b"198.51.100.9", b"192.0.2.7,10.0.0.2"], "192.0.2.7", "several fields"),
    ("10.0.0.1", [b"10.0.0.2"], "10.0.0.2", "proxies only"),
    ("10.0.0.1", [b"192.0.2.7, nonsense, 10.0.0.2"], "10.0.0.2", "as far as it can be read"),
    ("10.0.0.1", [b""], "10.0.0.1", "empty"),
    ("10.0.0.1", [b"192.0.2.7:4711"], "192.0.2.7", "a port"),
    ("10.0.0.1", [b"[2001:db8::1]:4711"], "2001:db8::1", "brackets and a port"),
    ("10.0.0.1", [b"[2001:db8::1]"], "2001:db8::1", "brackets"),
    ("10.0.0.1", [b"::ffff:192.0.2.7"], "192.0.2.7", "IPv4 in IPv6"),
    ("10.0.0.1", [b"2001:DB8:0:0::1"], "2001:db8::1", "one spelling"),
    ("10.0.0.1", [b"fe80::1%eth0"], "fe80::1", "a zone is the proxy's own"),
    ("fd00::1", [b"\xff\xfe"], "fd00::1", "no text"),
    ("unix", [b"192.0.2.7"], "192.0.2.7", "a proxy on a unix socket"),
]  # fmt: skip


@pytest.mark.parametrize(("peer", "values", "client", "why"), CASES)
def test_the_client(peer: str, values: list[bytes], client: str, why: str) -> None:
    assert client_address(peer, values, TRUSTED.__contains__) == client, why


def test_an_endless_list_is_not_read_to_its_beginning() -> None:
    asked: list[str] = []

    def is_trusted(address: str) -> bool:
        asked.append(address)
        return True

    client_address("10.0.0.1", [b",".join([b"10.0.0.2"] * 10_000)], is_trusted)
    assert len(asked) == 16


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("unix", "unix", True),
    ],
)
def test_ipv6_clients_are_counted_by_their_network(one: str, other: str, *, same: bool) -> None:
    assert (key_of(one) == key_of(other)) is same

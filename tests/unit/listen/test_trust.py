import pytest

from sidecar.listen.trust import TrustedPeers


def test_nobody_is_trusted_by_default() -> None:
    nobody = TrustedPeers(())
    assert not nobody.includes("127.0.0.1")
    assert not nobody.includes("unix")


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("fd00::1", True),
        ("fe80::1", False),
        ("unix", True),
    ],
)
def test_networks(address: str, *, trusted: bool) -> None:
    peers = TrustedPeers(("10.0.0.0/8", "192.0.2.7", "fd00::/8", "unix"))
    assert peers.includes(address) is trusted


def test_what_is_no_network_is_an_error() -> None:
    with pytest.raises(ValueError, match="not-a-network"):
        TrustedPeers(("not-a-network",))

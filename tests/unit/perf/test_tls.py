import ssl
from pathlib import Path

import pytest

from perf.tls import client_context, self_signed


def shaken(client: ssl.SSLContext, server: ssl.SSLContext, host: str) -> str | None:
    """The version that both agree on, without a network.

    Raises:
        ssl.SSLError: they do not.
    """
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    calling = client.wrap_bio(back, there, server_hostname=host)
    called = server.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for side in (calling, called):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return calling.version()


@pytest.fixture
def server(tmp_path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(tmp_path, "orders.example.com"))
    return context


def test_who_has_the_certificate_is_believed(tmp_path: Path, server: ssl.SSLContext) -> None:
    client = client_context(tmp_path / "listener.pem")
    assert shaken(client, server, "orders.example.com") == "TLSv1.3"


def test_under_another_name_it_is_not(tmp_path: Path, server: ssl.SSLContext) -> None:
    client = client_context(tmp_path / "listener.pem")
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken(client, server, "invoices.example.com")


def test_older_versions_are_not_spoken(tmp_path: Path, server: ssl.SSLContext) -> None:
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shaken(client_context(tmp_path / "listener.pem"), server, "orders.example.com")

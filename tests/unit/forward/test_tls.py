"""Files of TLS: what makes a context, what does not, and when they are read anew."""

import asyncio
import os
import ssl
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from sidecar.forward.dial import Dialler
from sidecar.forward.tls import Material, TlsFilesError, listener_files, upstream_files
from sidecar.settings.schema import Tls, Upstream, UpstreamTls
from tests.certificates import Authority

CA = Authority()


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    certificate, key = CA.server().write(tmp_path, "server")
    return Tls(certificate=certificate, key=key)


def test_the_end_of_the_certificate_is_told(tls: Tls) -> None:
    material = listener_files(tls).material
    assert time.time() < material.not_after < time.time() + 2 * 86_400
    assert material.authorities == b""
    assert material.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert material.context.verify_mode == ssl.CERT_NONE
    assert material.context.options & ssl.OP_NO_RENEGOTIATION


def test_what_makes_no_context(tls: Tls, tmp_path: Path) -> None:
    other = CA.server().write(tmp_path, "other")
    garbage = tmp_path / "garbage"
    garbage.write_text("hunter2")
    key = serialization.load_pem_private_key(Path(tls.key).read_bytes(), None)
    sealed = tmp_path / "sealed.key"
    sealed.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"a passphrase"),
        )
    )
    ca = CA.write(tmp_path)
    cases = [
        (Tls(certificate=tls.certificate, key=other[1]), "key values mismatch"),
        (Tls(certificate=tls.certificate, key=str(garbage)), ""),
        (Tls(certificate=str(garbage), key=tls.key), ""),
        (Tls(certificate=tls.certificate, key=str(sealed)), ""),
        (Tls(certificate=tls.certificate, key="/none"), "No such file"),
        (
            Tls(
                certificate=tls.certificate, key=tls.key, client_ca=str(garbage),
                client_certificate="required",
            ),
            "",
        ),
        (
            Tls(
                certificate=tls.certificate, key=tls.key, client_ca="/none",
                client_certificate="optional",
            ),
            "No such file",
        ),
    ]  # fmt: skip
    for settings, reason in cases:
        with pytest.raises(TlsFilesError) as caught:
            listener_files(settings)
        assert reason in str(caught.value)
        assert "hunter2" not in str(caught.value)
    asked = Tls(
        certificate=tls.certificate, key=tls.key, client_ca=ca, client_certificate="optional"
    )
    material = listener_files(asked).material
    assert material.context.verify_mode == ssl.CERT_OPTIONAL
    assert len(material.authorities) == 32


def test_an_upstream_is_always_verified(tls: Tls, tmp_path: Path) -> None:
    for settings in (
        UpstreamTls(),
        UpstreamTls(ca=CA.write(tmp_path)),
        UpstreamTls(certificate=tls.certificate, key=tls.key),
    ):
        material = upstream_files("app", settings).material
        assert material.context.verify_mode == ssl.CERT_REQUIRED
        assert material.context.check_hostname
        assert (material.not_after == float("inf")) == (settings.certificate is None)
    with pytest.raises(TlsFilesError, match="No such file"):
        upstream_files("app", UpstreamTls(ca="/none"))


async def test_only_changes_are_read(tls: Tls) -> None:
    files = listener_files(tls)
    told: list[tuple[Material, Material]] = []
    files.changed = lambda before, after: told.append((before, after))
    first = files.material
    await files.look()
    assert (files.material, files.reloaded, told) == (first, 0, [])
    os.utime(tls.certificate, ns=(1, 1))
    await files.look()
    assert files.reloaded == 1
    assert told == [(first, files.material)]
    assert files.context is files.material.context


def take_away(path: str) -> bytes:
    content = Path(path).read_bytes()
    Path(path).unlink()
    return content


def give_back(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)


async def test_files_that_vanish_change_nothing(tls: Tls) -> None:
    files = listener_files(tls)
    first = files.material
    content = take_away(tls.key)
    for _ in range(2):
        await files.look()
    assert (files.material, files.failed) == (first, 1), "told once for each change"
    give_back(tls.key, content)
    await files.look()
    assert (files.reloaded, files.failed) == (1, 1)


async def test_they_are_looked_at_now_and_then_or_when_wanted(tls: Tls) -> None:
    files = listener_files(tls)
    done = asyncio.Event()
    files.changed = lambda *_: done.set()
    task = asyncio.create_task(files.keep_fresh())
    await asyncio.sleep(0)
    os.utime(tls.certificate, ns=(1, 1))
    files.want()
    async with asyncio.timeout(10):
        await done.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_dialler_has_files_only_for_https(tmp_path: Path) -> None:
    ca = CA.write(tmp_path)
    for url, expected in (
        ("http://a", False), ("unix:/run/a", False), ("https://a", True), ("HTTPS://a:1/", True),
    ):  # fmt: skip
        tls = UpstreamTls(ca=ca) if expected else None
        assert (Dialler("app", Upstream(url=url, tls=tls)).tls is not None) == expected
    with pytest.raises(ValueError, match="without a path"):
        Dialler("app", Upstream(url="http://a/b"))
    with pytest.raises(TlsFilesError):
        Dialler("app", Upstream(url="https://a", tls=UpstreamTls(ca="/none")))

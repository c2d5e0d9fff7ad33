import ctypes
import platform

import pytest

from sidecar.listen.allocator import keep_buffers_apart


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_glibc_takes_it() -> None:
    assert keep_buffers_apart()


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_another_c_library_is_left_alone(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: None) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert not keep_buffers_apart()

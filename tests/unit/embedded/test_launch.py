"""The launcher, step by step; whole it runs in each test of the embedded servers."""

import ctypes
import os

import pytest

from sidecar.embedded import launch


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What the launcher would have done to its own process."""
    steps: list[tuple[object, ...]] = []

    class Library:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def unshare(self, flags: int) -> int:
            steps.append(("unshare", flags))
            return -1

        def prctl(self, option: int, signal: int) -> None:
            steps.append(("prctl", option, signal))

    monkeypatch.setattr(ctypes, "CDLL", Library)
    for name in ("setgroups", "setgid", "setuid", "execv"):
        monkeypatch.setattr(os, name, lambda *words, name=name: steps.append((name, *words)))
    return steps


def test_another_user_first_then_the_death_signal_then_the_program(
    done: list[tuple[object, ...]],
) -> None:
    launch.main(["65534", "2", str(os.getppid()), "/bin/true", "-x"])
    assert done == [
        ("setgroups", []),
        ("setgid", 65534),
        ("setuid", 65534),
        ("prctl", 1, 2),
        ("execv", "/bin/true", ["/bin/true", "-x"]),
    ]


def test_a_parent_that_has_ended_already(done: list[tuple[object, ...]]) -> None:
    with pytest.raises(SystemExit, match="parent"):
        launch.main(["same", "2", "1000000000", "/bin/true"])
    assert done == [("prctl", 1, 2)]


def test_a_namespace_that_is_refused(done: list[tuple[object, ...]]) -> None:
    with pytest.raises(OSError, match="unshare"):
        launch.main(["namespace", "2", "1", "/bin/true"])
    assert done == [("unshare", 0x10000000)]

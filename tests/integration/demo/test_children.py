"""Child programs: how they end, and what is said about it."""

import asyncio
import sys
from pathlib import Path

import pytest

from sidecar.demo.children import ChildError, running

WAITS = "import signal; print('ready', flush=True); signal.pause()"


async def test_it_is_stopped_at_the_end(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WAITS]
    async with running("it", command, tmp_path / "log", announces=True) as child:
        assert await child.first_line() == "ready"
        assert child.process.returncode is None
    assert child.process.returncode == -15


async def test_its_last_words_are_told(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('out of coffee')"]
    async with running("it", command, tmp_path / "log") as child:
        told = str(await child.ended())
    assert "it ended with status 1" in told
    assert "out of coffee" in told


async def test_one_that_ends_before_it_announces_anything_is_an_error(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('half a line', end='')"]
    async with running("it", command, tmp_path / "log", announces=True) as child:
        with pytest.raises(ChildError, match=r"it ended with status 0.*wrote nothing"):
            await child.first_line()


async def test_a_signal_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    async with running("it", command, tmp_path / "log") as child:
        assert "SIGKILL" in str(await child.ended())


async def test_one_that_does_not_listen_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.demo.children.STOP_SECONDS", 0.05)
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}"
    command = [sys.executable, "-c", deaf]
    async with running("it", command, tmp_path / "log", announces=True) as child:
        await child.first_line()
    assert child.process.returncode == -9


async def test_it_is_in_a_session_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid(), flush=True)"]
    async with running("it", command, tmp_path / "log", announces=True) as child:
        assert await child.first_line() == "True"
        async with asyncio.timeout(10):
            await child.ended()

"""Installs Autobahn's test suite beside the project and runs its fuzzing client.

Everything goes to one folder; the interpreter's own packages are neither used nor changed. All
versions and hashes are locked: `bootstrap.txt` what installs, `requirements.txt` what is installed,
`faster.txt` what needs a compiler and can be done without.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

_HERE: Final = Path(__file__).parent
_BOOTSTRAP: Final = _HERE / "bootstrap.txt"
_REQUIREMENTS: Final = _HERE / "requirements.txt"
_FASTER: Final = _HERE / "faster.txt"
_LOCKS: Final = (_BOOTSTRAP, _REQUIREMENTS, _FASTER)
_INSTALL_SECONDS: Final = 600.0
# -S, and the folders by hand: no packages of the interpreter, and zope's .pth file is honoured.
_RUN: Final = """\
import site, sys
[site.addsitedir(each) for each in sys.argv.pop(1).split(":")]
sys.argv[0] = "wstest"
from autobahntestsuite.wstest import run
run()"""


class SuiteError(Exception):
    """It could not be installed, or did not run to its end; the text ends with its last words."""


class Suite:
    """The fuzzing client in `folder`, run by `interpreter` (a Python 2.7)."""

    def __init__(self, folder: Path, interpreter: Path) -> None:
        self._folder = folder
        self._interpreter = interpreter
        self._tools = folder / "tools"
        self._packages = folder / "packages"

    def install(self) -> bool:
        """Installs what is locked; False where that was there already.

        Raises:
            SuiteError: it cannot be fetched, or built.
        """
        mark = self._folder / "installed"
        wanted = sha256(b"".join(each.read_bytes() for each in _LOCKS)).hexdigest()
        wanted += f" {self._interpreter}"
        if mark.exists() and mark.read_text() == wanted:
            return False
        pip = [sys.executable, "-m", "pip"]
        self._pip([*pip, "install", "--no-compile"], self._tools, _BOOTSTRAP)
        old_pip = [str(self._interpreter), "-m", "pip"]
        # Without isolation nothing but what is locked takes part in building.
        old_pip += ["install", "--no-build-isolation"]
        self._pip(old_pip, self._packages, _REQUIREMENTS)
        # Masks and checks UTF-8 in C; without it that is done in Python.
        with suppress(SuiteError):
            self._pip(old_pip, self._packages, _FASTER)
        mark.write_text(wanted)
        return True

    def _pip(self, command: Sequence[str], target: Path, lock: Path) -> None:
        target.mkdir(parents=True, exist_ok=True)
        log = self._folder / f"{lock.stem}.log"
        options = ["--upgrade", "--target", str(target), "--no-deps", "--require-hashes"]
        environment = {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        if command[0] == str(self._interpreter):
            environment["PYTHONPATH"] = str(self._tools)
        _run(
            [*command, *options, "-r", str(lock)],
            log,
            _INSTALL_SECONDS,
            {**os.environ, **environment},
        )

    def fuzz(
        self,
        servers: Mapping[str, str],
        cases: Sequence[str],
        seconds: float,
        but: Mapping[str, Sequence[str]] | None = None,
    ) -> dict[str, Any]:
        """What the client thinks of each server: its own ``index.json``, by server and case.

        Args:
            servers: URLs by the name they get in reports.
            cases: patterns as Autobahn takes them, such as ``7.*``.
            seconds: for all of it; the reports lie in ``reports/`` of the folder.
            but: cases that make no sense for a server, by its name.

        Raises:
            SuiteError: it ended without a report, or did not end in time.
        """
        reports = self._folder / "reports"
        index = reports / "index.json"
        index.unlink(missing_ok=True)
        plan = {
            "outdir": str(reports),
            "servers": [{"agent": name, "url": url} for name, url in servers.items()],
            "cases": list(cases),
            "exclude-cases": [],
            "exclude-agent-cases": {name: list(these) for name, these in (but or {}).items()},
        }
        written = self._folder / "plan.json"
        written.write_text(json.dumps(plan))
        paths = f"{self._packages}:{self._tools}"
        command = [str(self._interpreter), "-S", "-c", _RUN, paths]
        command += ["-m", "fuzzingclient", "-s", str(written)]
        _run(command, self._folder / "client.log", seconds, dict(os.environ))
        if not index.exists():
            raise SuiteError(f"no report was written: {_last_words(self._folder / 'client.log')}")
        found: dict[str, Any] = json.loads(index.read_text())
        return found


def _run(command: list[str], log: Path, seconds: float, environment: dict[str, str]) -> None:
    with log.open("wb") as words:
        try:
            code = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                check=False,
                timeout=seconds,
                cwd=log.parent,
                env=environment,
            ).returncode
        except subprocess.TimeoutExpired:
            raise SuiteError(f"not done after {seconds:.0f} s: {_last_words(log)}") from None
    if code != 0:
        raise SuiteError(f"{command[0]} ended with {code}: {_last_words(log)}")


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace")[-2_000:]

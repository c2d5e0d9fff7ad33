"""Finds a Python 2.7, which is all that Autobahn's test suite runs on."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

# Tells a version as text, and fails where it was built without TLS or compression.
_PROBE: Final = "import ssl, zlib, sys; sys.stdout.write('%d.%d' % sys.version_info[:2])"
NEEDED: Final = """\
Autobahn's test suite needs CPython 2.7 with ssl and zlib, and none was found. Any of these will do:
  pyenv install 2.7.18
  the packages python2.7 and libpython2.7-stdlib of Debian 11, Ubuntu 22.04 or before
  PYTHON27=/path/to/python2.7 make conformance"""


def candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    """Where one may be: what PYTHON27 names and nothing else, or the usual places."""
    if named := environment.get("PYTHON27"):
        yield Path(named)
        return
    for name in ("python2.7", "python2", "python"):
        if found := shutil.which(name, path=environment.get("PATH")):
            yield Path(found)
    # Shims of pyenv are on the path but refuse unless that version is chosen: look behind them.
    root = Path(environment.get("PYENV_ROOT") or Path(environment.get("HOME", "/")) / ".pyenv")
    yield from sorted(root.glob("versions/2.7*/bin/python2.7"), reverse=True)


def find(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The first candidate that runs and is a Python 2.7; None where there is none."""
    return next(filter(is_fit, candidates(environment)), None)


def is_fit(program: Path) -> bool:
    """Whether it runs, is of version 2.7 and can speak TLS."""
    try:
        asked = subprocess.run(
            [str(program), "-c", _PROBE], capture_output=True, check=False, timeout=30, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0 and asked.stdout == b"2.7"

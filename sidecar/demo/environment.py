"""``demo.env``: what the demonstration left for a shell to read with ``source``."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path


def write_secret(path: Path, text: str) -> None:
    """Replaces the file by one that only we can read; nobody ever sees half of it."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def write(path: Path, values: Mapping[str, str]) -> None:
    """Writes ``export NAME=value`` lines, quoted for a POSIX shell; they hold secrets."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in values.items()]
    write_secret(path, "".join(lines))


def read(path: Path) -> dict[str, str]:
    """What `write` wrote; empty without a file. Lines that it would not write are skipped."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    values = {}
    for line in lines:
        try:
            words = shlex.split(line)
        except ValueError:  # somebody edited it
            continue
        if len(words) == 2 and words[0] == "export":
            name, _, value = words[1].partition("=")
            values[name] = value
    return values

"""How commands speak: exit codes, errors, JSON, colours. One convention for all of them.

Results go to stdout, everything about them (errors, hints, progress) to stderr.
"""

import os
import sys
from collections.abc import Sequence
from enum import IntEnum
from typing import NoReturn

import click
import msgspec


class Code(IntEnum):
    """Exit codes; `sidecar --help` lists them."""

    FINE = 0
    # The answer is no: a problem was found, the request would be refused.
    NO = 1
    # The command line is wrong. Click uses the same.
    USAGE = 2
    # The answer is not known: a file cannot be read, a store is not there.
    UNAVAILABLE = 3


def say(text: str, *, error: bool = False) -> None:
    """Write `text` and a newline to stdout (stderr for an error); colours only where they help.

    Colours are left out when the output is no terminal, and when NO_COLOR is set (no-color.org).
    """
    click.echo(text, err=error, color=False if os.environ.get("NO_COLOR") else None)


def paint(text: str, colour: str) -> str:
    """`text` in a colour; `say` takes it out where it does not belong."""
    return click.style(text, fg=colour)


def fail(message: str, hint: str = "", code: int = Code.NO) -> NoReturn:
    """End the command: ``error: message``, then ``hint: ...`` if there is one.

    Args:
        message: what went wrong; one line, without secrets.
        hint: what to do about it.
        code: the exit code.
    """
    say(f"{paint('error:', 'red')} {message}", error=True)
    if hint:
        say(f"{paint('hint:', 'yellow')} {hint}", error=True)
    raise SystemExit(int(code))


def note(message: str) -> None:
    """Say something beside the result."""
    say(f"{paint('note:', 'yellow')} {message}", error=True)


def emit(value: object, text: str, *, as_json: bool) -> None:
    """Write a result.

    Args:
        value: what JSON shows: dicts, lists, structs, dataclasses.
        text: what people read.
        as_json: which of the two.
    """
    if as_json:
        encoded = msgspec.json.format(msgspec.json.encode(value), indent=2)
        sys.stdout.write(encoded.decode() + "\n")
    else:
        say(text)


def table(rows: Sequence[tuple[str, ...]], *, indent: str = "") -> str:
    """Rows with their columns aligned by spaces."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join((indent + line).rstrip() for line in lines)

"""The options that commands of `sidecar admin` share, and how times are written."""

import functools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click

from sidecar.model.change import Level
from sidecar.sync.announce import Wanted

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,8})([smhd])")


_DEFAULT: Final = Wanted()


@dataclass(frozen=True, slots=True)
class Asked:
    """The options that all commands have."""

    config: Path | None
    tenant: str | None
    as_json: bool
    wanted: Wanted = _DEFAULT


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.2 only
    """``90s``, ``30m``, ``12h`` or ``7d``, in seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds; a default is given in seconds already."""
        if isinstance(value, float):
            return value
        match = _DURATION.fullmatch(str(value))
        if match is None:
            self.fail(f'"{value}" is not a duration such as 90s, 30m, 12h or 7d', param, ctx)
        return float(int(match[1]) * _UNITS[match[2]])


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command ``--tenant``, ``--config`` and ``--json``, as its first argument `Asked`."""

    @click.option("--json", "as_json", is_flag=True, help="Write JSON.")
    @click.option(
        "-c", "--config", type=click.Path(path_type=Path), envvar="SIDECAR_CONFIG",
        help="Configuration that names the stores; else DATABASE_URL and REDIS_URL do.",
    )  # fmt: skip
    @click.option(
        "-t", "--tenant", envvar="SIDECAR_TENANT", help="Tenant; not needed if there is only one."
    )
    @functools.wraps(command)
    def wrapped(
        config: Path | None, tenant: str | None, *, as_json: bool, **arguments: Any
    ) -> None:
        command(Asked(config, tenant, as_json), **arguments)

    return wrapped


def changing(command: Callable[..., None]) -> Callable[..., None]:
    """`asking`, and how far the change has to come."""

    @click.option(
        "--ack-seconds", type=click.FloatRange(0.1, 600), default=10.0, show_default=True,
        help="How long to wait for --ack applied.",
    )  # fmt: skip
    @click.option(
        "--ack", type=click.Choice([level.value for level in Level]),
        default=Level.PUBLISHED.value, show_default=True,
        help="Return when it is stored, announced, or in effect in every sidecar.",
    )  # fmt: skip
    @asking
    @functools.wraps(command)
    def wrapped(asked: Asked, *, ack: str, ack_seconds: float, **arguments: Any) -> None:
        command(replace(asked, wanted=Wanted(Level(ack), ack_seconds)), **arguments)

    return wrapped


def when(instant: float | None) -> str:
    """A wall-clock instant for people: UTC, RFC 3339."""
    if instant is None:
        return "-"
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(instant))


def until(duration: float | None) -> float | None:
    """The wall-clock instant that lies `duration` seconds ahead."""
    return None if duration is None else time.time() + duration

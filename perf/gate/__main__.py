"""``python -m perf.gate``: fails where Sidecar became slower than `limits.json` allows.

Every figure is a ratio to something that is measured in the same seconds. One that is too large is
measured again, twice at most: a busy machine disturbs now and then, a slower Sidecar is slower
each time.
"""

import subprocess
import sys
from collections.abc import Callable
from functools import partial

import click

from perf.__main__ import compared, workshop
from perf.gate.limits import PROXY, Limit, is_judged, limits, write
from perf.peers import nginx, sidecar

ATTEMPTS = 3
_ROUNDS, _SECONDS = 3, 1.5


def alone(part: str) -> float:
    """A part in a process of its own: where things lie in memory differs from one to the next."""
    command = [sys.executable, "-m", "perf.gate.ratios", part]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def proxy(_name: str) -> float:
    """CPU for a request by that of nginx: the best round of each.

    Raises:
        RuntimeError: there is no nginx, or an answer was wrong.
    """
    names = (sidecar.NAME, nginx.NAME)
    with workshop(tell=silent) as (folder, workload):
        outcome = compared(names, workload, folder, _ROUNDS, _SECONDS, tell=silent)
    if nginx.NAME in outcome.absent:
        raise RuntimeError(outcome.absent[nginx.NAME])
    ours, theirs = (
        min(figure.cpu_us for figure in outcome.figures if figure.peer == name) for name in names
    )
    return ours / theirs


def silent(_text: str) -> None:
    pass


def settled(limit: Limit, measure: Callable[[], float], tell: Callable[[str], None]) -> float:
    """The first figure within the limit, else the smallest of all attempts."""
    found: list[float] = []
    while len(found) < ATTEMPTS:
        found.append(measure())
        tell(limit.told(found[-1]))
        if limit.holds(found[-1]):
            break
    return min(found)


def told(text: str) -> None:
    print(text, flush=True)


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(limits())), help="Exactly these.")
@click.option("--write", "anew", is_flag=True, help="Make what is measured the usual.")
def main(only: tuple[str, ...], anew: bool) -> None:  # noqa: FBT001 # click
    """Measure a few ratios, and fail where one is larger than allowed."""
    missed: list[str] = []
    usual: dict[str, float] = {}
    for name, limit in limits().items():
        if only and name not in only:
            continue
        try:
            found = settled(limit, partial(proxy if name == PROXY else alone, name), told)
        except RuntimeError as error:
            sys.exit(f"perf-gate: {name} could not be measured: {error}")
        usual[name] = found
        if not is_judged(name):
            told(f"{name:10} is not judged: the limits are those of another Python")
        elif not limit.holds(found):
            missed.append(limit.advice(found))
    if anew:
        write(usual)
        told("these are the usual ones now")
    elif missed:
        sys.exit(
            "\nperf-gate: slower than allowed, {} times in a row.\n{}".format(
                ATTEMPTS, "\n".join(missed)
            )
        )


if __name__ == "__main__":
    main()

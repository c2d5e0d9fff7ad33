"""``python -m perf.growth``: what a request costs as this or that grows, through a whole sidecar.

Ratios are to the smallest size in the same interleaved run. Tables are printed, the figures written
to ``perf/results/growth.json`` and drawn beside it.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import click

from perf import machine
from perf.__main__ import tell, workshop
from perf.growth import bodies, sized, tokens
from perf.growth.grown import Growth
from perf.growth.plane import Plane, plane
from perf.growth.sized import Run
from perf.plots import drawing
from perf.plots import growth as plot
from perf.report import RESULTS
from perf.rounds import upstream

WHAT = ("routes", "grants", "tokens", "connections", "bodies")
_PATH = RESULTS.parent / "growth.json"


def grown(what: tuple[str, ...], rounds: int, seconds: float, new: int) -> Iterator[Growth]:
    """What was asked for, one after the other.

    Raises:
        RuntimeError: an answer was not the expected one.
    """
    with workshop() as (folder, workload), upstream() as application:
        private, jwks = tokens.issuer(folder, workload.jwks)
        run = Run(workload, rounds, seconds, tell)
        ways: dict[str, Callable[[Plane, Run], list[Growth]]] = {
            "routes": sized.routes,
            "grants": sized.grants,
            "tokens": partial(tokens.grown, private=private, number=new),
            "connections": sized.connections,
            "bodies": bodies.bodies,
        }
        with plane(folder / "plane", application, jwks) as one:
            for name in what:
                tell(f"\n{name}")
                yield from ways[name](one, run)


@click.command()
@click.option("--what", multiple=True, type=click.Choice(WHAT), help="Exactly these; else all.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=2.0, show_default=True, type=click.FloatRange(0.1))
@click.option(
    "--new-tokens", default=1_000_000, show_default=True, type=click.IntRange(0),
    help="Each shown once; a million takes some ten minutes.",
)  # fmt: skip
def main(what: tuple[str, ...], rounds: int, seconds: float, new_tokens: int) -> None:
    """Measure what a request costs as routes, grants, tokens, connections and bodies grow."""
    machine.allow_descriptors()
    found = []
    try:
        for growth in grown(what or WHAT, rounds, seconds, new_tokens):
            tell(f"\n{growth.table()}\n")
            found.append(growth)
    except RuntimeError as error:
        sys.exit(f"perf.growth: {error}")
    content = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine.described(),
        "rounds": rounds,
        "seconds": seconds,
        "grown": [each.as_dict() for each in found],
    }
    _PATH.parent.mkdir(exist_ok=True)
    _PATH.write_text(json.dumps(content, indent=1) + "\n")
    tell(f"written to {_PATH}")
    panels = [each.panel() for each in found]
    drawing.told(partial(plot.draw, panels, _PATH.parent, "growth"), tell)


if __name__ == "__main__":
    main()

"""``python -m tests.fuzz [target ...] [--seconds 60] [--seed N]``: random mutation of the corpora.

Prints the seed, and the octets where a property fails. With ``--atheris`` and one target it is
coverage that leads: that takes `pip install atheris`, which is no dependency of the project;
arguments behind ``--`` are libFuzzer's.
"""

import argparse
import importlib
import random
import secrets
import sys
import time

from tests.fuzz.mutation import SEEDS, mutated
from tests.fuzz.targets import TARGETS


def _fuzz(names: list[str], seconds: float, seed: int) -> int:
    chance = random.Random(seed)
    say = sys.stdout.write
    say(f"seed {seed}\n")
    for name in names:
        ends = time.monotonic() + seconds / len(names)
        tried = 0
        while time.monotonic() < ends:
            tried += 1
            octets = mutated(SEEDS[name], chance)
            try:
                TARGETS[name](octets)
            except Exception as error:
                say(f"{name}: {octets!r}: {error!r}\n")
                raise
        say(f"{name}: {tried} inputs, nothing found\n")
    return 0


def _fuzz_by_coverage(name: str, rest: list[str]) -> int:
    atheris = importlib.import_module("atheris")
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], *rest], TARGETS[name])
    atheris.Fuzz()
    return 0


def main(arguments: list[str]) -> int:
    """Run; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--atheris", action="store_true")
    at = arguments.index("--") if "--" in arguments else len(arguments)
    own, rest = arguments[:at], arguments[at + 1 :]
    options = parser.parse_args(own)
    names = options.targets or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if options.atheris:
        return _fuzz_by_coverage(names[0], rest)
    return _fuzz(
        names, options.seconds, secrets.randbits(32) if options.seed is None else options.seed
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

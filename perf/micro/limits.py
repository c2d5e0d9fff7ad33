"""What a rate limit costs: a known client, newcomers with a place, a flood without one.

Prints microseconds for each check. Run: python -m perf.micro.limits
"""

import timeit
from collections.abc import Callable
from typing import Final

from sidecar.limit.buckets import Buckets
from sidecar.limit.rates import Limit, Per, take

NOW: Final = 1_000.0
COUNT: Final = 100_000
STRANGERS: Final = [f"198.51.{number}" for number in range(COUNT)]


def known() -> Callable[[], None]:
    buckets = Buckets(1e-6, 1_000_000_000, COUNT)
    keys = [f"192.0.2.{number % 1000}" for number in range(COUNT)]

    def run() -> None:
        for key in keys:
            buckets.take(key, NOW)

    return run


def several() -> Callable[[], None]:
    """Two limits at once, as the gate asks."""
    limits = [
        Limit(name, Per.ADDRESS, COUNT, 1.0, Buckets(1e-6, 1_000_000_000, COUNT)) for name in "ab"
    ]
    keys = [f"192.0.2.{number % 1000}" for number in range(COUNT)]

    def run() -> None:
        for key in keys:
            take([(limit, key) for limit in limits], NOW)

    return run


def newcomers() -> Callable[[], None]:
    buckets = Buckets(0.001, 2, COUNT // 2)
    now = NOW

    def run() -> None:
        nonlocal now
        for key in STRANGERS:
            now += 1e-5
            buckets.take(key, now)

    return run


def flood() -> Callable[[], None]:
    buckets = Buckets(1_000.0, 2, COUNT // 2)
    for number in range(COUNT // 2):
        buckets.take(f"192.0.{number}", NOW)

    def run() -> None:
        for key in STRANGERS:
            buckets.take(key, NOW)

    return run


def main() -> None:
    for case in (known, several, newcomers, flood):
        best = min(timeit.repeat(case(), number=1, repeat=7)) / COUNT * 1e6
        print(f"{case.__name__:10} {best:6.2f} us")


if __name__ == "__main__":
    main()

"""A little of `python -m tests.fuzz` in each run; the seed is pytest-randomly's."""

import random

import pytest

from tests.fuzz.mutation import SEEDS, mutated
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_properties_of_the_parsers(name: str) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    for _ in range(1_500):
        octets = mutated(SEEDS[name], chance)
        try:
            TARGETS[name](octets)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {octets!r}") from error


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_hold_the_properties(name: str) -> None:
    assert SEEDS[name]
    for octets in SEEDS[name]:
        TARGETS[name](octets)

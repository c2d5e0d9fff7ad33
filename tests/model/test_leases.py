"""R10 and R11 in models of their own: all orders, and proof that each rule is needed."""

import pytest

from sidecar.cache.following import Following
from sidecar.cache.memory import Memory
from tests.model.clocks import Clocks, Rates
from tests.model.explorer import Explorer
from tests.model.shards import SHARDS, TwoShards

_ENOUGH = 200_000


@pytest.mark.parametrize(
    "rates",
    [Rates(), Rates(1.0, 1.0), Rates(0.955, 1.0), Rates(1.0, 1.045)],
    ids=["both off", "true", "slow sidecar", "fast Redis"],
)
def test_the_margin_makes_up_for_clocks(rates: Rates) -> None:
    """R10: a few per cent of difference, whoever is wrong."""
    found = Explorer(Clocks(rates), most_states=_ENOUGH).explore()
    print(found)  # noqa: T201  shown by -rP
    assert found.complete
    assert found.story == ()


def test_without_a_margin_clocks_break_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Following, "MARGIN", 0.0)
    found = Explorer(Clocks(Rates()), most_states=_ENOUGH).explore()
    print(found)  # noqa: T201  the story is what one wants to read
    assert found.story
    assert found.story[-1].endswith("(promise 13)")


def test_a_decision_needs_all_its_leases() -> None:
    """R11."""
    found = Explorer(TwoShards(Memory), most_states=_ENOUGH).explore()
    print(found)  # noqa: T201  shown by -rP
    assert found.complete
    assert found.story == ()


class _OneForAll(Memory):
    """A lease on one shard is good for all."""

    __slots__ = ()

    def lease(self, shard: int, until: float, /) -> None:
        self._leases[shard] = until
        latest = max(self._leases[each] for each in SHARDS)
        for each in SHARDS:
            self._leases[each] = latest


def test_one_lease_for_all_shards_breaks_the_promise() -> None:
    found = Explorer(TwoShards(_OneForAll), most_states=_ENOUGH).explore()
    print(found)  # noqa: T201  the story is what one wants to read
    assert found.story
    assert found.story[-1].endswith("(promise 14)")

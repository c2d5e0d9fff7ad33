"""The protocol as a model of the explorer: who may do what next, and what must never be."""

from collections.abc import Iterator

from tests.model.faults import faults
from tests.model.following import follows, warm
from tests.model.reading import asks, reads, waiting
from tests.model.relaying import needs_epoch, relays
from tests.model.rules import Rules
from tests.model.server import NOTHING
from tests.model.world import NAMES, Case, Scenario, Step, World, at_rest, due, owed
from tests.model.writing import acknowledged, commits, publications, settled


class Protocol:
    """One shard with one subject, and everybody who knows of it.

    Args:
        scenario: what may happen.
        rules: which rules are kept.
    """

    def __init__(self, scenario: Scenario, rules: Rules) -> None:
        self._case = Case(scenario, rules)

    def initial(self) -> World:
        """At rest; then whatever the scenario says has happened already."""
        scenario = self._case.scenario
        world = at_rest(scenario)
        if scenario.warm:
            for at in range(scenario.sidecars):
                world = warm(world, self._case, at)
        for words in scenario.prelude:
            world = next(
                after for sentence, after in self.steps(world) if sentence.startswith(words)
            )
        return world

    def steps(self, world: World) -> Iterator[Step]:
        """All events, in a fixed order, each with the acknowledgement it makes possible."""
        if world.wrong:
            return
        for sentence, event in self._events(world):
            after = acknowledged(event, self._case)
            if after.applied > world.applied:
                told = f"{sentence}; revocation {after.applied} is acknowledged as applied"
                yield told, settled(after, self._case)
            else:
                yield sentence, settled(after, self._case) if after.applied else after

    def fault(self, world: World) -> str:
        """Promises 13 and 14. A request that memory would answer is as good as one that comes."""
        if world.wrong:
            return world.wrong
        version = owed(world, self._case)
        for at, each in enumerate(world.sidecars):
            if each.memory != NOTHING and each.memory < version and each.leased:
                return (
                    f"sidecar {NAMES[at]} authorizes by version {each.memory} in its memory: "
                    f"{due(world, version)}"
                )
        return ""

    def _events(self, world: World) -> Iterator[Step]:
        at = waiting(world)
        if at is not None:
            yield from asks(world, self._case, at)
            return
        yield from commits(world, self._case)
        yield from publications(world, self._case)
        for at in range(len(world.sidecars)):
            yield from follows(world, self._case, at)
            yield from reads(world, self._case, at)
        yield from relays(world, self._case)
        yield from faults(world, self._case)
        if not self._relay_hurries(world):
            yield "half a lease passes", world.later()

    def _relay_hurries(self, world: World) -> bool:
        """Whether the master is given an epoch before time passes.

        Only promise 14 needs that, and only beside an isolated old master: a relay that is
        connected to that one may call what it was told there published. Sweeps are closer
        together than D.
        """
        if not self._case.scenario.timely or len(world.servers) == 1:
            return False
        return needs_epoch(world, self._case, world.servers[0])

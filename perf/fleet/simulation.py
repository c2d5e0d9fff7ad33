"""One run: a fleet starts, changes come, Redis goes away and returns, a tenth is cut off."""

import random
from array import array
from collections import Counter
from collections.abc import Callable, MutableSequence, Sequence
from dataclasses import dataclass, field

from perf.fleet.network import BIN_SECONDS, FakeRedis, Time, Weather
from perf.fleet.node import Node
from sidecar.cache.following import Following
from sidecar.model.shard import SHARDS
from sidecar.settings.schema import Cache

# The fleet starts within a second, and has settled after two; each fault lasts as long.
_SETTLED = 2.0
AWAY_SECONDS = 5.0
_CALM_SECONDS = 5.0
# A half-open connection is given up when a lease has passed without an answer.
_NOTICED_SECONDS = Cache().lease_seconds


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is simulated.

    Attributes:
        sidecars: how many.
        changes: in a second, over all shards.
        cut_off: share that is cut off in the end.
        seed: of chance.
    """

    sidecars: int
    changes: float = 5.0
    cut_off: float = 0.1
    weather: Weather = field(default_factory=Weather)
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out. Times in seconds.

    Attributes:
        lags: from published to applied, of each change in each sidecar, while all was calm.
        beats: heartbeats a second at Redis while all was calm.
        scripts: calls of scripts a second, likewise; a heartbeat is one for each shard.
        peak_beats: the most heartbeats a second in a tenth of a second, after Redis came back.
        after_outage: from Redis's return to all leases, of each sidecar.
        after_partition: from its end to all leases, of each sidecar that was cut off.
        reconnections: attempts to connect by tenth of a second after Redis's return.
        replays: by source; resyncs by cause.
        wrong: what must not be.
    """

    fleet: Fleet
    lags: Sequence[float]
    beats: float
    scripts: float
    peak_beats: float
    after_outage: Sequence[float]
    after_partition: Sequence[float]
    reconnections: list[int]
    replays: Counter[str]
    resyncs: Counter[str]
    wrong: list[str]


def simulate(
    fleet: Fleet,
    *,
    following: type[Following] = Following,
    jitter: Callable[[], float] | None = None,
) -> Outcome:
    """The whole story of one fleet."""
    chance, time, cache = random.Random(fleet.seed), Time(), Cache()
    redis = FakeRedis(time, fleet.weather, chance)
    # Millions of them: as numbers, not as objects.
    lags: MutableSequence[float] = array("d")
    nodes = [
        Node(number, time, redis, cache, chance, lags, following=following, jitter=jitter)
        for number in range(fleet.sidecars)
    ]

    def change() -> None:
        redis.commit(chance.randrange(SHARDS))
        time.after(chance.expovariate(fleet.changes), change)

    time.run(_SETTLED)
    time.after(0.0, change)
    time.run(_SETTLED + _CALM_SECONDS)
    calm_lags = array("d", sorted(lags))
    calm = range(int(_SETTLED / BIN_SECONDS), int((_SETTLED + _CALM_SECONDS) / BIN_SECONDS))

    redis.fail()
    for node in nodes:
        node.disconnected(0.0)
    time.run(time.now + AWAY_SECONDS)
    redis.come_back()
    back = time.now
    time.run(back + _CALM_SECONDS)
    after_outage = _recoveries(nodes, back)

    victims = nodes[: max(1, int(fleet.cut_off * fleet.sidecars))]
    for node in victims:
        node.is_cut_off = True
    time.run(time.now + AWAY_SECONDS)
    healed = time.now
    for node in victims:
        node.is_cut_off = False
        # Half of them had noticed before, and try to connect all the time.
        node.disconnected(chance.random() * _NOTICED_SECONDS)
    time.run(healed + _CALM_SECONDS)

    first = int(back / BIN_SECONDS)
    return Outcome(
        fleet,
        calm_lags,
        sum(redis.beats[each] for each in calm) / _CALM_SECONDS,
        sum(redis.scripts[each] for each in calm) / _CALM_SECONDS,
        max(redis.beats[first + each] for each in range(20)) / BIN_SECONDS,
        after_outage,
        _recoveries(victims, healed),
        [redis.connects[first + each] for each in range(15)],
        redis.counts,
        sum((node.resyncs for node in nodes), Counter()),
        [each for node in nodes for each in node.wrong],
    )


def _recoveries(nodes: Sequence[Node], since: float) -> list[float]:
    """How long each took; who has not recovered counts as never."""
    found = []
    for node in nodes:
        ends = [ended for _, ended in node.recoveries if ended >= since]
        found.append(ends[-1] - since if ends and node.lost_at is None else float("inf"))
    return sorted(found)

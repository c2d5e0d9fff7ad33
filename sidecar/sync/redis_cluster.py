"""The masters of a Cluster, by the slots of our shards.

Several nodes are asked for their view. A view may be old, that of a node that was cut off or that
has not heard of a failover; for each shard the master that most of them name is taken.
See https://valkey.io/topics/cluster-spec/.
"""

from collections import Counter
from typing import Any, Final

import redis.exceptions
from redis.crc import key_slot

from sidecar.model.shard import SHARDS
from sidecar.settings.address import TcpAddress
from sidecar.settings.check_redis import parse_node
from sidecar.settings.schema import Redis
from sidecar.sync.keyspace import Keyspace
from sidecar.sync.redis_discovery import Places, most_answers
from sidecar.sync.redis_node import Line, make_connection

# Enough to outvote one that was cut off, few enough for a large fleet.
_ASKED: Final = 5


class ClusterFinder:
    """Asks nodes of the Cluster in `settings`; see `redis_discovery.Finder`."""

    sharded: Final = True
    # Errors and moved channels tell of nearly every change at once.
    every_seconds: Final = 10.0

    def __init__(self, settings: Redis) -> None:
        self._settings = settings
        keys = Keyspace(settings.prefix)
        self._slots = [key_slot(keys.head(shard).encode()) for shard in range(SHARDS)]
        self._seeds = [parse_node(node) for node in settings.nodes]
        self._masters: list[TcpAddress] = []
        self._looks = 0

    async def find(self) -> Places:
        """The master of each shard; see `redis_discovery.Finder`."""
        views = await most_answers([self._view(address) for address in self._asked()])
        if not views:
            raise redis.exceptions.ConnectionError("no node of the Cluster answers")
        places = tuple(_most_named([view[shard] for view in views]) for shard in range(SHARDS))
        self._masters = sorted({place for place in places if place is not None}, key=str)
        return places

    async def aclose(self) -> None:
        """No connection outlasts a question."""

    def _asked(self) -> list[TcpAddress]:
        """Known masters and seeds, others with each look."""
        known = list(dict.fromkeys([*self._masters, *self._seeds]))
        self._looks += 1
        start = self._looks % len(known)
        return (known[start:] + known[:start])[:_ASKED]

    async def _view(self, address: TcpAddress) -> Places:
        connection = make_connection(self._settings, address, "sidecar-cluster")
        line = Line(connection, self._settings.connect_seconds)
        try:
            [slots] = await line.ask(("CLUSTER", "SLOTS"))
        finally:
            await line.close()
        return read_slots(slots, self._slots, address)


def read_slots(answer: Any, slots: list[int], asked: TcpAddress) -> Places:
    """The masters of `slots`, in their order, in the answer of the node `asked`.

    An address may be left out (the one that was asked) or unknown (``?``).

    Raises:
        RedisError: it is no such answer.
    """
    places: list[TcpAddress | None] = [None] * len(slots)
    try:
        for first, last, (host, port, *_), *_ in answer:
            if host == b"?":
                continue
            master = TcpAddress(host.decode() if host else asked.host, int(port))
            for index, slot in enumerate(slots):
                if first <= slot <= last:
                    places[index] = master
    except (TypeError, ValueError, AttributeError):
        raise redis.exceptions.InvalidResponse("a node does not know the slots") from None
    return tuple(places)


def _most_named(places: list[TcpAddress | None]) -> TcpAddress | None:
    named = Counter(place for place in places if place is not None)
    return named.most_common(1)[0][0] if named else None

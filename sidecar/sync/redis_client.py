"""Which server answers for a shard: one implementation for each topology.

Commands and news of a shard go to one server, its master. A standalone server is the master of all
shards; with Sentinel one of several servers is, and another one after a failover; in a Cluster each
master has some of the shards. Who finds an error, or an answer that a former master could have
given, says so by `doubt`, and the topology is looked up again.

redis-py's own clients for Sentinel and Cluster are not used: they look up the topology on the path
of a command and with retries, ask one sentinel or node after the other, and the Cluster's drops the
connections to all nodes when one fails. Losing a node has to cost the shards of that node only.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from sidecar.model.shard import SHARDS
from sidecar.settings.schema import Redis
from sidecar.sync.redis_node import Node, closed

ALL: Final = frozenset(range(SHARDS))


class RedisClient(Protocol):
    """The servers of one topology."""

    @property
    def settings(self) -> Redis:
        """Where Redis is."""
        ...

    @property
    def sharded(self) -> bool:
        """Whether news travel by sharded pub/sub, as in a Cluster."""
        ...

    async def node(self, shard: int) -> Node:
        """The server of `shard`; waits only while none is known.

        Raises:
            RedisError: none is known.
        """
        ...

    def nodes(self) -> Mapping[Node, frozenset[int]]:
        """The servers as far as they are known now, each with its shards."""
        ...

    def doubt(self) -> None:
        """Something speaks against what is known: look again soon."""
        ...

    async def aclose(self) -> None:
        """Ends all connections for commands, for good: no server is known any more."""
        ...


class StandaloneClient:
    """The one server of `settings.url`."""

    sharded: Final = False

    def __init__(self, settings: Redis) -> None:
        self.settings: Final = settings
        self._node = Node(settings)
        self._nodes = {self._node: ALL}

    async def node(self, shard: int) -> Node:  # noqa: ARG002  it has all of them
        """The server."""
        if not self._nodes:
            raise closed()
        return self._node

    def nodes(self) -> Mapping[Node, frozenset[int]]:
        """The server, with all shards."""
        return self._nodes

    def doubt(self) -> None:
        """There is no other."""

    async def aclose(self) -> None:
        """Ends its connections for commands, for good."""
        self._nodes = {}
        await self._node.aclose()


def open_client(settings: Redis) -> RedisClient:
    """A client for the topology in `settings`; connects when it is used."""
    # Imported by need: most run on one server.
    match settings.topology:
        case "standalone":
            return StandaloneClient(settings)
        case "sentinel":
            from sidecar.sync.redis_discovery import DiscoveredClient  # noqa: PLC0415
            from sidecar.sync.redis_sentinel import SentinelFinder  # noqa: PLC0415

            return DiscoveredClient(settings, SentinelFinder(settings))
        case "cluster":
            from sidecar.sync.redis_cluster import ClusterFinder  # noqa: PLC0415
            from sidecar.sync.redis_discovery import DiscoveredClient  # noqa: PLC0415

            return DiscoveredClient(settings, ClusterFinder(settings))

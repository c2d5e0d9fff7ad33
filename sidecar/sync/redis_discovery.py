"""Servers that have to be found: the present view, and when it is looked up again.

A look-up is one task for all who want one. Who asks for a server waits for it only while nothing is
known; otherwise the known server is used until another one is found, so that sentinels that are
away cost nothing while the master is well.
"""

import asyncio
import logging
import math
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

import redis.exceptions
from redis.exceptions import RedisError

from sidecar.settings.address import TcpAddress
from sidecar.settings.schema import Redis
from sidecar.sync.redis_node import Node, closed

_log: Final = logging.getLogger(__name__)
# Doubts come with every failing call; nobody is asked more often than this.
_AGAIN_SECONDS: Final = 0.1
# Calls to a server are bounded by far less; then nobody uses one any more that was replaced.
_RETIRED_SECONDS: Final = 2.0

# For each shard its server, or None where it has none.
Places = tuple[TcpAddress | None, ...]
Answer = TypeVar("Answer")


class Finder(Protocol):
    """Knows how to ask."""

    @property
    def sharded(self) -> bool:
        """See `RedisClient`."""
        ...

    @property
    def every_seconds(self) -> float:
        """How often to look although nobody doubts."""
        ...

    async def find(self) -> Places:
        """Who answers for which shard now.

        Raises:
            RedisError: nobody could say.
        """
        ...

    async def aclose(self) -> None:
        """Ends all connections."""
        ...


class DiscoveredClient:
    """Servers that `finder` finds; see `RedisClient`."""

    def __init__(self, settings: Redis, finder: Finder) -> None:
        self.settings: Final = settings
        self.sharded: Final = finder.sharded
        self._finder = finder
        self._places: Places = ()
        self._nodes: dict[TcpAddress, Node] = {}
        self._shards: dict[Node, frozenset[int]] = {}
        self._retired: list[tuple[float, Node]] = []
        self._looking: asyncio.Task[None] | None = None
        self._looked = -math.inf
        self._doubtful = False
        self._failing = False
        self._is_closed = False

    async def node(self, shard: int) -> Node:
        """The server of `shard`; see `RedisClient`."""
        if self._is_closed:
            raise closed()
        self._look_if_due()
        if not self._places and self._looking is not None:
            # Not awaited itself: who gives up waiting must not end it for the others.
            await asyncio.wait({self._looking})
        address = self._places[shard] if self._places else None
        if address is None:
            raise redis.exceptions.ConnectionError(f"no server is known for shard {shard}")
        return self._nodes[address]

    def nodes(self) -> Mapping[Node, frozenset[int]]:
        """The servers as far as they are known now, each with its shards."""
        self._look_if_due()
        return self._shards

    def doubt(self) -> None:
        """Something speaks against what is known: look again soon."""
        self._doubtful = True
        self._look_if_due()

    async def aclose(self) -> None:
        """Ends the look-up and all connections for commands, for good."""
        self._is_closed = True
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._finder.aclose()
        await self._close([*self._nodes.values(), *(node for _, node in self._retired)])
        self._places, self._nodes, self._shards, self._retired = (), {}, {}, []

    def _look_if_due(self) -> None:
        if self._is_closed or self._looking is not None:
            return
        wanted = self._doubtful or not self._places
        pause = _AGAIN_SECONDS if wanted else self._finder.every_seconds
        if asyncio.get_running_loop().time() - self._looked >= pause:
            self._looking = asyncio.create_task(self._look(), name="redis-topology")

    async def _look(self) -> None:
        self._doubtful = False
        now = asyncio.get_running_loop().time
        try:
            places = await self._finder.find()
        except (RedisError, OSError) as error:
            self._doubtful = True
            self._tell(error)
        else:
            self._settle(places, now())
            self._tell(None)
        finally:
            self._looked = now()
            self._looking = None
        old = [node for since, node in self._retired if now() - since > _RETIRED_SECONDS]
        self._retired = [each for each in self._retired if each[1] not in old]
        await self._close(old)

    def _settle(self, places: Places, now: float) -> None:
        if places == self._places:
            return
        wanted = {address for address in places if address is not None}
        self._retired += [
            (now, node) for address, node in self._nodes.items() if address not in wanted
        ]
        self._nodes = {
            address: self._nodes.get(address) or Node(self.settings, address) for address in wanted
        }
        self._places = places
        self._shards = {
            node: frozenset(shard for shard, place in enumerate(places) if place == address)
            for address, node in self._nodes.items()
        }
        _log.info("Redis answers at %s", ", ".join(sorted(map(str, wanted))) or "no address")

    async def _close(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            with suppress(RedisError, OSError):
                await node.aclose()

    def _tell(self, error: Exception | None) -> None:
        """Once for each outage."""
        if error is not None and not self._failing:
            _log.warning("where Redis is cannot be found out: %s", error)
        self._failing = error is not None


async def most_answers(asked: Sequence[Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """The answers of more than half of those who are `asked`, or of as many as answer at all.

    All are asked at once and each has to be bounded: one that is frozen holds nobody up while most
    of the others answer.
    """
    tasks = [asyncio.create_task(each) for each in asked]
    answers: list[Answer] = []
    try:
        for ended in asyncio.as_completed(tasks):
            try:
                answers.append(await ended)
            except (RedisError, OSError, TimeoutError):
                continue
            if 2 * len(answers) > len(tasks):
                break
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return answers

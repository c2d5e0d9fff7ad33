"""Calls of scripts by shard: each goes to the server of its shard and is bounded in time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import redis.exceptions
from redis.exceptions import RedisError

from sidecar.sync.redis_client import RedisClient
from sidecar.sync.redis_node import Node, Script

_Failure = RedisError | OSError


class ShardCall(NamedTuple):
    """One call of a script; all keys belong to `shard`."""

    shard: int
    keys: Sequence[str | bytes]
    values: Sequence[str | int | bytes] = ()


# How several calls are made on one server; what failed of them stands in its place.
_Run = Callable[[Node, Sequence[ShardCall]], Awaitable[list[Any]]]


class Calls:
    """Asks servers. What fails is doubted: the next call may go to another server.

    Args:
        client: knows the servers.
        seconds: bound on each call, with the search for its server.
    """

    def __init__(self, client: RedisClient, seconds: float) -> None:
        self._client = client
        self._seconds = seconds

    @asynccontextmanager
    async def node(self, shard: int) -> AsyncIterator[Node]:
        """The server of `shard`, for one call in the block.

        Raises:
            RedisError, OSError: none is known, or it did not answer in time.
        """
        async with self._bounded():
            yield await self._client.node(shard)

    async def call(self, script: Script, call: ShardCall) -> Any:
        """The answer to one call.

        Raises:
            RedisError, OSError: it was not answered in time, or refused.
        """
        async with self.node(call.shard) as node:
            return await node.run(script, (call.keys, call.values))

    async def call_each(self, script: Script, calls: Sequence[ShardCall]) -> list[Any]:
        """The answers to several calls, in one round trip to each server they concern.

        A server that does not answer costs its own calls only: in their places are errors.

        Raises:
            RedisError, OSError: none was answered.
        """
        return await self._answers(calls, partial(_run_each, script))

    async def call_at_once(
        self, script: Script, calls: Sequence[ShardCall], common: Sequence[str | int | bytes] = ()
    ) -> list[Any]:
        """As `call_each`, for a script that serves several shards in one call.

        It is given the keys of all its shards, then `common`, then their values; it answers with a
        list, one place for each shard. A Cluster takes keys of one slot in a call only: there it is
        called for each shard.
        """
        run = _run_by_shard if self._client.sharded else _run_at_once
        return await self._answers(calls, partial(run, script, common))

    async def _answers(self, calls: Sequence[ShardCall], run: _Run) -> list[Any]:
        answers: list[Any] = [None] * len(calls)
        groups = await self._grouped(call.shard for call in calls)
        places = [
            (node, [place for place, call in enumerate(calls) if call.shard in shards])
            for node, shards in groups
        ]
        outcomes = await _all(
            [self._call_on(node, run, [calls[place] for place in each]) for node, each in places]
        )
        for (_, each), outcome in zip(places, outcomes, strict=True):
            for place, answer in zip(each, outcome, strict=True):
                answers[place] = answer
        failures = [answer for answer in answers if isinstance(answer, _Failure)]
        if failures:
            self._client.doubt()
            if len(failures) == len(answers):
                raise failures[0]
        return answers

    async def together(self, shards: Iterable[int]) -> list[set[int]]:
        """`shards` in groups that one server answers for.

        Those without a known server are in a group as well.

        Raises:
            RedisError: no server was found in time.
        """
        return [each for _, each in await self._grouped(shards)]

    async def _grouped(self, shards: Iterable[int]) -> list[tuple[Node | None, set[int]]]:
        groups: dict[Node | None, set[int]] = {}
        async with self._bounded():
            for shard in shards:
                node: Node | None
                try:
                    node = await self._client.node(shard)
                except RedisError:
                    node = None
                groups.setdefault(node, set()).add(shard)
        return list(groups.items())

    async def _call_on(self, node: Node | None, run: _Run, calls: Sequence[ShardCall]) -> list[Any]:
        if node is None:
            return [redis.exceptions.ConnectionError("no server is known")] * len(calls)
        try:
            async with self._bounded():
                return await run(node, calls)
        except (RedisError, OSError) as error:
            return [error] * len(calls)

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._seconds):
                yield
        except TimeoutError as error:
            self._client.doubt()
            raise redis.exceptions.TimeoutError("Redis did not answer in time") from error
        except (RedisError, OSError):
            self._client.doubt()
            raise


async def _run_each(script: Script, node: Node, calls: Sequence[ShardCall]) -> list[Any]:
    return await node.run_each(script, [(call.keys, call.values) for call in calls])


async def _run_at_once(
    script: Script,
    common: Sequence[str | int | bytes],
    node: Node,
    calls: Sequence[ShardCall],
) -> list[Any]:
    keys = [key for call in calls for key in call.keys]
    values = [*common, *(value for call in calls for value in call.values)]
    answers: list[Any] = await node.run(script, (keys, values))
    return answers


async def _run_by_shard(
    script: Script,
    common: Sequence[str | int | bytes],
    node: Node,
    calls: Sequence[ShardCall],
) -> list[Any]:
    each = [(call.keys, [*common, *call.values]) for call in calls]
    answers = await node.run_each(script, each)
    return [answer if isinstance(answer, _Failure) else answer[0] for answer in answers]


async def _all(works: Sequence[Any]) -> list[list[Any]]:
    """What `works` return; one alone costs no task."""
    if len(works) == 1:
        return [await works[0]]
    return list(await asyncio.gather(*works))

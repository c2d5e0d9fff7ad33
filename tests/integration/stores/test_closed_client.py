"""A client that was closed opens nothing any more: nobody would close it."""

import asyncio
from typing import Any

import pytest
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from sidecar.model.need import UserNeed
from sidecar.settings.schema import Redis
from sidecar.sync.redis_cache import RedisCache, open_client
from sidecar.sync.redis_client import RedisClient

ALICE = UserNeed("acme", "alice")


async def test_it_knows_no_server_and_says_so(l2: RedisCache, client: RedisClient) -> None:
    assert await l2.heads()
    before = await client.node(0)
    await client.aclose()
    assert not client.nodes()
    with pytest.raises(RedisConnectionError, match="closed"):
        await l2.look(ALICE)
    with pytest.raises(RedisConnectionError):
        await l2.heads()
    with pytest.raises(RedisConnectionError, match="closed"):
        await before.client.ping()


async def test_one_that_has_to_find_its_servers_looks_no_more(redis_settings: Redis) -> None:
    found = Redis(topology="cluster", nodes=("127.0.0.1:1",), prefix=redis_settings.prefix)
    client = open_client(found)
    with pytest.raises(RedisError):
        await client.node(0)
    await client.aclose()
    client.doubt()
    assert not client.nodes()
    with pytest.raises(RedisConnectionError, match="closed"):
        await client.node(0)
    assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint({"redis-topology"})


async def test_what_was_being_opened_is_closed_as_well(
    l2: RedisCache, client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that comes about when all the others have been closed already."""
    began, may_go_on = asyncio.Event(), asyncio.Event()
    opened: list[Connection] = []
    connect: Any = Connection._connect

    async def slowly(self: Connection) -> None:
        opened.append(self)
        began.set()
        await may_go_on.wait()
        await connect(self)

    monkeypatch.setattr(Connection, "_connect", slowly)
    read = asyncio.create_task(l2.look(ALICE))
    await began.wait()
    await client.aclose()
    may_go_on.set()
    with pytest.raises(RedisConnectionError, match="closed"):
        await read
    assert [each.is_connected for each in opened] == [False]

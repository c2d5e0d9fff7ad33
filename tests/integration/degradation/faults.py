"""Stores behind proxies that break them, and the sessions that a row of the table asks with."""

import asyncio
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sidecar.accounts import Sessions
from sidecar.authenticate.opaque import RANDOM_BYTES, check, digest, mint, signing_key
from sidecar.clock import wall
from sidecar.demo.tenant import TENANT
from sidecar.model.change import Level
from sidecar.model.need import ABSENT, RolesNeed, SessionNeed, UserNeed
from sidecar.model.shard import shard_of
from sidecar.settings.schema import Postgres, Redis
from sidecar.store.facts import FactStore
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.store.sessions import SessionRows
from sidecar.sync.publisher import Publisher
from sidecar.sync.redis_cache import Filling, RedisCache, open_client
from tests.integration.degradation.table import Store
from tests.integration.whole.conftest import KEY
from tests.servers import Proxy

SLOW_SECONDS: Final = 2.0


class Line(Proxy):
    """A proxy that can be slow, too: each piece comes late."""

    def __init__(self, port: int) -> None:
        self._quick = threading.Event()
        self._quick.set()
        super().__init__(port)

    def be(self, state: Store) -> None:
        """From now on the server behind it is like this, for who connects through it."""
        match state:
            case Store.REFUSED:
                self.cut()
            case Store.SILENT:
                self.freeze()
            case Store.SLOW:
                self._quick.clear()
            case Store.UP:
                self._quick.set()
                self.mend()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        late = _Late(target, self._quick)
        super()._pump(source, late)  # type: ignore[arg-type]  # all of a socket that it uses


class _Late:
    """A socket whose bytes leave late, unless `quick` is set."""

    def __init__(self, target: socket.socket, quick: threading.Event) -> None:
        self._quick = quick
        self._target = target
        self.shutdown, self.close = target.shutdown, target.close

    def sendall(self, piece: bytes) -> None:
        self._quick.wait(SLOW_SECONDS)
        self._target.sendall(piece)


@dataclass(frozen=True)
class Lines:
    """Both stores, as the sidecar under test reaches them."""

    postgres: Line
    redis: Line
    dsn: str
    redis_url: str


@asynccontextmanager
async def lines(dsn: str, redis_url: str) -> AsyncIterator[Lines]:
    """A line to each store, all well at first."""
    port, redis_port = int(conninfo_to_dict(dsn)["port"] or 0), urlsplit(redis_url).port
    assert redis_port is not None
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(Line(port))
        redis = stack.enter_context(Line(redis_port))
        yield Lines(
            postgres,
            redis,
            make_conninfo(dsn, port=postgres.port),
            redis_url.replace(f":{redis_port}", f":{redis.port}"),
        )


class Administration:
    """Issues and revokes sessions in stores that are up for it: another host than the sidecar's."""

    def __init__(self, pool: Pool, redis: RedisCache) -> None:
        publisher = Publisher(redis, Outbox(pool))
        self._facts = FactStore(pool)
        self._redis = redis
        self._sessions = Sessions(SessionRows(pool), publisher.publish, signing_key(KEY), wall=wall)
        self._ids: dict[str, str] = {}

    async def issue(self, subject: str) -> str:
        """The token of a new session."""
        session = await self._sessions.issue(TENANT, subject, 3600.0)
        self._ids[session.token] = session.id
        return session.token

    async def revoke(self, token: str) -> None:
        ended = await self._sessions.revoke(TENANT, self._ids[token])
        assert ended.level is Level.PUBLISHED

    async def share(self, token: str, subject: str) -> None:
        """Fills Redis as another sidecar would that was asked with `token`."""
        shard = check(token, signing_key(KEY))
        assert shard is not None
        needs = (SessionNeed(digest(token), shard), UserNeed(TENANT, subject), RolesNeed(TENANT))
        for need in needs:
            look = await self._redis.look(need)
            if look.fact is None:
                fact = await self._facts.read(need)
                assert fact is not ABSENT
                assert look.head is not None
                assert await self._redis.fill(need, fact, look.head) is Filling.DONE


@asynccontextmanager
async def administrating(dsn: str, redis: Redis) -> AsyncIterator[Administration]:
    client = open_client(redis)
    try:
        async with Pool(Postgres(dsn=dsn)) as pool:
            yield Administration(pool, RedisCache(client, redis.prefix, 60.0))
    finally:
        await client.aclose()


def never_issued() -> str:
    """A token that we signed and nobody stored."""
    return mint(shard_of(TENANT), secrets.token_bytes(RANDOM_BYTES), signing_key(KEY))


def forged(token: str) -> str:
    """The same with another signature."""
    return token[:-1] + ("A" if token[-1] != "A" else "B")


async def until(condition: Callable[[], Awaitable[bool]], seconds: float) -> float:
    """Polls; returns how long it took, and fails beyond `seconds`."""
    begun = time.monotonic()
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)
    return time.monotonic() - begun

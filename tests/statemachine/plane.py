"""Two whole sidecars without listeners on real stores, and the means to disturb them."""

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import msgspec
import redis.asyncio

import sidecar.assembly.deciding as assembly
import sidecar.pipeline as requests
from sidecar.accounts.sessions import Sessions
from sidecar.assembly.deciding import Deciding, open_deciding
from sidecar.authenticate.opaque import signing_key
from sidecar.cache.acknowledgement import Bounds
from sidecar.clock import instant, stopwatch, wall
from sidecar.embedded.valkey import EmbeddedValkey
from sidecar.forward.exchange import Exchange
from sidecar.model.change import Change, Level
from sidecar.model.decision import Denial
from sidecar.model.peer import Peer
from sidecar.model.reason import Reason
from sidecar.model.shard import shard_of
from sidecar.parse.request import RequestReader
from sidecar.pipeline import Pipeline
from sidecar.settings.schema import Root
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.store.sessions import SessionRows
from sidecar.sync.acknowledge import Acknowledger
from sidecar.sync.follower import Follower, Missing
from sidecar.sync.keyspace import News
from sidecar.sync.publisher import Publisher
from sidecar.sync.redis_cache import RedisCache, open_client
from sidecar.telemetry.meters import Meters
from tests.servers import wait_until_ready

SIDECARS: Final = 2
KEY: Final = "a token key for tests, of enough length"
# Small, so that an epoch is soon old enough for `applied`; the settings' order is kept.
LEASE_SECONDS: Final = 0.3
_CACHE: Final = {"lease_seconds": LEASE_SECONDS, "heartbeat_seconds": 0.06, "warm_seconds": 0.2}
_LOAD_SECONDS: Final = 0.25
# A loaded machine is slow; what takes this long is broken.
_PATIENCE_SECONDS: Final = 20.0
_TRIES: Final = 40
ROUTES: Final = [
    {"path": "/orders/{n}", "methods": ["GET"], "permission": "orders:read"},
    {"path": "/orders/{n}", "methods": ["DELETE"], "permission": "orders:delete"},
]
METHODS: Final = {"orders:read": "GET", "orders:delete": "DELETE"}
# Where the sidecars read their clocks.
CLOCKS: Final = ((assembly, "instant"), (requests, "instant"), (requests, "wall"))
_numbers: Final = itertools.count(1)


class Hearing(Follower):
    """The product's, which may be made to lose messages; replays it hears."""

    deaf = False
    _replaying = False

    def apply(self, news: News, now: float, **more: Any) -> None:
        if not (self.deaf and news.epoch and not self._replaying):
            super().apply(news, now, **more)

    def replay(self, missing: Missing, found: Iterable[News], now: float) -> bool:
        self._replaying = True
        applied = super().replay(missing, found, now)
        self._replaying = False
        return applied


class Clocks:
    """Both clocks of all sidecars, which a test may put forward: they sleep, or all wait."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def instant(self) -> float:
        return instant() + self.ahead

    def wall(self) -> float:
        return wall() + self.ahead


class _Asked(Exchange):
    """An exchange that only has a head, and learns its verdict."""

    def __init__(self, head: bytes) -> None:
        found = RequestReader(target_bytes=200, most_fields=10).read(head)
        assert not isinstance(found, Denial)
        self.head = found
        self.peer = Peer("192.0.2.1", "http", is_trusted=False)
        self.request_id = b"r1"
        self.started = stopwatch()
        self.is_over = False
        self.verdict: asyncio.Future[Denial | None] = asyncio.get_running_loop().create_future()

    def forward(self, _permit: object) -> None:
        self.verdict.set_result(None)

    def refuse(self, denial: Denial) -> None:
        self.verdict.set_result(denial)


class Plane:
    """Everything that one story needs; opened and closed within its loop.

    Args:
        dsn: a database with the schema.
        server: a Redis that may be killed.
        features: which optimisations are on.

    Attributes:
        clocks: of the sidecars.
        redis_is_up: whether `server` runs.
        unanswered: requests that were refused for want of the stores, and asked again.
    """

    def __init__(self, dsn: str, server: EmbeddedValkey, features: dict[str, bool]) -> None:
        document = {
            "upstreams": {"app": {"url": "http://127.0.0.1:1"}},
            "stores": {
                "postgres": {"dsn": dsn},
                "redis": {"url": server.url, "prefix": "machine", "command_seconds": 0.1},
                "load_seconds": _LOAD_SECONDS,
            },
            "cache": _CACHE,
            "features": features,
            "credentials": {"token_key": KEY},
            "routes": [{**each, "resource": "orders/{n}"} for each in ROUTES],
        }
        self._root = msgspec.convert(document, Root)
        self._server = server
        self._sidecars: list[tuple[AsyncExitStack, Deciding, Pipeline]] = []
        self._closing = AsyncExitStack()
        self.clocks = Clocks()
        self.redis_is_up = True
        self.unanswered = 0

    async def open(self) -> None:
        """Starts both sidecars on stores that are in step."""
        for module, name in CLOCKS:
            setattr(module, name, getattr(self.clocks, name))
        stores = self._root.stores
        assert stores.redis is not None
        self.pool = await self._closing.enter_async_context(Pool(stores.postgres))
        self._client = open_client(stores.redis)
        self._closing.push_async_callback(self._client.aclose)
        self._cache = RedisCache(self._client, stores.redis.prefix, 60)
        outbox = Outbox(self.pool)
        self.publisher = Publisher(self._cache, outbox)
        # D is 0: a Redis that was flushed or restarted leaves no isolated old master behind.
        self._acknowledger = Acknowledger(self._cache, outbox, Bounds(LEASE_SECONDS, 0.0))
        self.sessions = Sessions(
            SessionRows(self.pool),
            self.publisher.publish,
            signing_key(KEY),
            wall=self.clocks.wall,
        )
        await self.publisher.catch_up()
        for _ in range(SIDECARS):
            self._sidecars.append(await self._started())
        await asyncio.gather(*(each.first_news() for _, each, _ in self._sidecars))

    async def close(self) -> None:
        """Ends all; the server runs again."""
        if not self.redis_is_up:
            self.start_redis()
        for stack, _, _ in self._sidecars:
            await stack.aclose()
        await self._closing.aclose()

    async def _started(self) -> tuple[AsyncExitStack, Deciding, Pipeline]:
        stack = AsyncExitStack()
        deciding = await stack.enter_async_context(open_deciding(self._root))
        pipeline = Pipeline(
            snapshot=deciding.snapshot,
            loader=deciding.tiers,
            load_seconds=_LOAD_SECONDS,
            meters=Meters(),
            audit=None,
            audit_permits=False,
        )
        return stack, deciding, pipeline

    def deciding(self, number: int) -> Deciding:
        """One of the sidecars."""
        return self._sidecars[number][1]

    def follower(self, number: int) -> Hearing:
        """What the news is applied to, in one of them."""
        found = self.deciding(number).follower
        assert isinstance(found, Hearing)
        return found

    async def restart(self, number: int, *, warm: bool) -> None:
        """One sidecar ends, another takes its place, and perhaps warms up first."""
        await self._sidecars[number][0].aclose()
        self._sidecars[number] = await self._started()
        if warm and self.redis_is_up:
            await self.deciding(number).first_news()
            await self.deciding(number).warm()

    async def ask(self, number: int, token: str, action: str, resource: str) -> Denial | None:
        """What one sidecar decides; None is a permit. No answer is no decision: ask again."""
        start = f"{METHODS[action]} /{resource} HTTP/1.1"
        head = "\r\n".join((start, "Host: h", f"Authorization: Bearer {token}", "", ""))
        found: Denial | None = None
        for _ in range(_TRIES):
            asked = _Asked(head.encode())
            self._sidecars[number][2].begin(asked)
            found = await asked.verdict
            if found is None or found.reason is not Reason.STORES_UNAVAILABLE:
                return found
            self.unanswered += 1
            await asyncio.sleep(0.05)
        raise AssertionError(f"the stores stay away: {found}")

    async def applied(self, changes: Sequence[Change]) -> None:
        """Waits until `changes`, published or not, are acknowledged as applied."""
        await self.publisher.publish(changes)
        found = await self._acknowledger.wait(changes, _PATIENCE_SECONDS)
        assert found.level is Level.APPLIED, found

    async def flush(self) -> None:
        """Redis forgets everything."""
        client = redis.asyncio.Redis.from_url(self._server.url)
        await client.flushall()
        await client.aclose()

    async def cut_subscriptions(self) -> None:
        """Redis ends all subscriptions."""
        client = redis.asyncio.Redis.from_url(self._server.url)
        await client.client_kill_filter(_type="pubsub")
        await client.aclose()

    def kill_redis(self) -> None:
        """It ends, and what it held is gone."""
        self._server.server.kill()
        self.redis_is_up = False

    def start_redis(self) -> None:
        """Empty, on the port it had."""
        self._server.restart()
        wait_until_ready(self._server)
        self.redis_is_up = True


def tenant_name(shard: int) -> str:
    """A name that was not used before, in this shard: the same in each run of a story."""
    return next(name for name in (f"t{n}" for n in _numbers) if shard_of(name) == shard)

"""What decisions are made from, wired: memory, its news, the stores below, the issuers' keys."""

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from sidecar.accounts.sessions import Sessions
from sidecar.authenticate.credential import CredentialRules
from sidecar.authenticate.opaque import signing_key
from sidecar.authorize.authorizer import Authorizer
from sidecar.authorize.principal import IdentityFields
from sidecar.cache.acknowledgement import Bounds
from sidecar.cache.memory import Memory
from sidecar.clock import instant, wall
from sidecar.decide import Snapshot
from sidecar.endpoints.own import PREFIX
from sidecar.forward.in_process import IN_PROCESS
from sidecar.model.change import Change, Level
from sidecar.model.route import Access, Route
from sidecar.route.rules import compile_route, compile_routes
from sidecar.settings.schema import Root
from sidecar.store.facts import FactStore
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.store.sessions import SessionRows
from sidecar.sync.acknowledge import Acknowledger
from sidecar.sync.announce import Announcer
from sidecar.sync.anticipation import Anticipation, Revalidating
from sidecar.sync.auditor import Auditor
from sidecar.sync.bus import Bus
from sidecar.sync.cancellation import end_tasks
from sidecar.sync.follower import Follower
from sidecar.sync.heart import Heart
from sidecar.sync.jwks import Keys
from sidecar.sync.keyspace import News
from sidecar.sync.poll import Poll
from sidecar.sync.publisher import Publisher
from sidecar.sync.redis_cache import RedisCache, open_client
from sidecar.sync.relay import Relay
from sidecar.sync.tickets import Tickets
from sidecar.sync.tiers import Tiers
from sidecar.sync.warming import Warmer
from sidecar.sync.watch import Watch

# How long a start waits for the news; after that it serves from the stores until they flow.
_FIRST_NEWS_SECONDS: Final = 2.0
_AGAIN_SECONDS: Final = 1.0
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deciding:
    """What decisions are made from.

    Attributes:
        snapshot: routes, credentials, memory, authorizer.
        tiers: loads what memory lacks.
        memory: the first cache level.
        follower: applies the news.
        watch: what is measured of the news.
        news: keeps the lease; its `following` is set while memory may be used.
        keys: of issuers, and the verdict on tokens.
        sessions: issues and revokes sessions.
        tickets: issues and redeems tickets of WebSocket handshakes.
        announcer: tells of changes that others make here, and waits for them.
        auditor: compares memory with the truth.
        warmer: loads favourites at the start; None without Redis.
        anticipation: loads ahead; None where nothing is kept in memory.
        pool: connections to PostgreSQL.
    """

    snapshot: Snapshot
    tiers: Tiers
    memory: Memory
    follower: Follower
    watch: Watch
    news: Heart | Poll
    keys: Keys
    sessions: Sessions
    tickets: Tickets
    announcer: Announcer
    auditor: Auditor
    warmer: Warmer | None
    anticipation: Anticipation | None
    pool: Pool

    async def first_news(self) -> None:
        """Wait a little until memory may be used."""
        try:
            async with asyncio.timeout(_FIRST_NEWS_SECONDS):
                await self.news.following.wait()
        except TimeoutError:
            return

    @property
    def warming(self) -> str:
        """How far loading favourites is, for people; ``""`` where there are none."""
        return str(self.warmer) if self.warmer is not None and self.warmer.wanted else ""

    async def warm(self) -> None:
        """Load what the other sidecars use most, or enough of it, where memory may be used."""
        if self.warmer is not None and self.news.following.is_set():
            await self.warmer.warm()


def own_routes() -> list[Route]:
    """The routes of our endpoints for clients."""
    me = compile_route(
        f"{PREFIX}me",
        name="sidecar-me",
        methods=["GET"],
        upstream=IN_PROCESS,
        access=Access.AUTHENTICATED,
    )
    sign_out = compile_route(
        f"{PREFIX}sign-out",
        name="sidecar-sign-out",
        methods=["POST"],
        upstream=IN_PROCESS,
        access=Access.AUTHENTICATED,
    )
    tickets = compile_route(
        f"{PREFIX}tickets",
        name="sidecar-tickets",
        methods=["POST"],
        upstream=IN_PROCESS,
        access=Access.AUTHENTICATED,
    )
    # A ticket stands for the very session that was presented, so that has to be seen.
    return [me, sign_out, replace(tickets, forward_credential=True)]


@asynccontextmanager
async def open_deciding(root: Root) -> AsyncIterator[Deciding]:
    """Open the stores and begin to follow the news; everything ends with the context.

    No store has to be reachable: what needs one waits for it, within its deadline.
    """
    features, cache = root.features, root.cache
    memory = Memory(
        cache,
        jitter=random.random,
        negative=features.negative_cache,
        enabled=features.memory_cache,
        ahead=features.refresh_ahead,
        adaptive=features.adaptive_lifetimes,
    )
    settings = root.stores.redis
    client = None if settings is None else open_client(settings)
    redis_cache = (
        None
        if settings is None or client is None
        else RedisCache(
            client, settings.prefix, cache.redis_entry_seconds, settings.command_seconds
        )
    )
    credentials = root.credentials
    keys = Keys(credentials.issuers, memory, instant=instant, wall=wall, jitter=random.random)
    async with Pool(root.stores.postgres) as pool:
        outbox = Outbox(pool)
        primary = FactStore(pool)
        tiers = Tiers(
            memory,
            primary,
            redis=redis_cache,
            verify=keys.verify,
            features=features,
            load_seconds=root.stores.load_seconds,
            instant=instant,
        )
        auditor = Auditor(
            memory, primary, cache.lease_seconds, instant=instant, chance=random.random
        )
        anticipation = _anticipation(root, memory, tiers)
        forgets: Memory | Revalidating = memory
        if anticipation is not None and features.revalidation:
            forgets = Revalidating(memory, anticipation.changed, instant=instant)
        follower = Follower(forgets, tiers, cache.lease_seconds)
        follower.watch = watch = Watch(wall)
        publisher = Publisher(redis_cache, outbox)
        news: Heart | Poll
        warmer: Warmer | None = None
        if client is None or redis_cache is None:
            news = Poll(outbox, cache, follower, instant=instant)
            works = {"poll": news.run}
        else:
            member = secrets.token_hex(16)
            news = Heart(redis_cache, outbox, cache, follower, member=member, instant=instant)
            bus = Bus(
                client,
                cache,
                follower,
                resubscribed=news.want,
                instant=instant,
                jitter=random.random,
            )
            relay = Relay(publisher, outbox, jitter=random.random)
            works = {"heart": news.run, "bus": bus.run, "relay": relay.run}
            if features.warming and features.memory_cache and cache.warm_entries:
                warmer = Warmer(redis_cache, memory, tiers, cache, instant=instant)
                works["favourites"] = warmer.run
        snapshot = Snapshot(
            routes=compile_routes(
                root.routes, default_upstream=next(iter(root.upstreams)), own=own_routes()
            ),
            credentials=CredentialRules(credentials),
            memory=memory,
            authorizer=Authorizer(
                cache, IdentityFields(root.identity), memo=features.decision_memo
            ),
            leeways={each.issuer: each.leeway_seconds for each in credentials.issuers},
        )

        async def publish(changes: Sequence[Change]) -> Level:
            # Here at once: who signs out through this sidecar is out when it answers.
            for change in changes:
                follower.apply(News(0, *change), instant())
            return await publisher.publish(changes)

        sessions = Sessions(
            SessionRows(pool),
            publish,
            signing_key(credentials.token_key),
            wall=wall,
            signed_in=(
                anticipation.signed_in if anticipation and features.sign_in_warming else None
            ),
        )
        if anticipation is not None:
            tiers.foresees = anticipation
            works["anticipation"] = anticipation.run
        acknowledger = None
        if settings is not None and redis_cache is not None:
            bounds = Bounds(cache.lease_seconds, settings.isolation_seconds)
            acknowledger = Acknowledger(redis_cache, outbox, bounds)
        works["keys"] = keys.run
        works["refresh"] = tiers.keep_fresh
        works["auditor"] = auditor.run
        tasks = [
            asyncio.create_task(_for_ever(name, work), name=name) for name, work in works.items()
        ]
        try:
            yield Deciding(
                snapshot=snapshot,
                tiers=tiers,
                memory=memory,
                follower=follower,
                watch=watch,
                news=news,
                keys=keys,
                sessions=sessions,
                tickets=Tickets(client, settings, credentials.websocket.ticket_seconds),
                announcer=Announcer(publish, outbox, acknowledger),
                auditor=auditor,
                warmer=warmer,
                anticipation=anticipation,
                pool=pool,
            )
        finally:
            if isinstance(news, Heart):
                await news.stop()
            await end_tasks(tasks)
            if warmer is not None:
                await warmer.close()
            await tiers.close()
            if isinstance(news, Heart):
                # Nothing decides any more: listeners and relays were closed before this.
                await news.resign()
            if client is not None:
                await client.aclose()


def _anticipation(root: Root, memory: Memory, tiers: Tiers) -> Anticipation | None:
    """What loads ahead, if there is anything to load into."""
    if not root.features.memory_cache:
        return None
    return Anticipation(
        memory,
        tiers,
        root.cache,
        instant=instant,
        wall=wall,
        chance=random.random,
        predicts=root.features.prediction,
    )


async def _for_ever(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work`, and again when a bug ends it: without it, what is known would grow stale."""
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001 - whatever it was, it must go on
            _LOG.exception("%s broke off; it begins again", name)
            await asyncio.sleep(_AGAIN_SECONDS)
        else:
            return

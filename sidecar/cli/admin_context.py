"""How commands of `sidecar admin` are run: the stores, the tenant, the outcome, how far it came."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec

from sidecar.cache.acknowledgement import Bounds
from sidecar.cli.admin_options import Asked
from sidecar.cli.console import Code, emit, fail, note
from sidecar.model.change import Change, Level
from sidecar.model.errors import (
    Invalid,
    MigrationError,
    NotFound,
    Refused,
    StoresUnavailable,
)
from sidecar.settings.schema import Cache, Postgres, Redis, Root
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.store.tenants import Tenants
from sidecar.sync.acknowledge import Acknowledgement, Acknowledger
from sidecar.sync.announce import Announcer, Wanted
from sidecar.sync.publisher import Publisher
from sidecar.sync.redis_cache import RedisCache, open_client

# People wait longer than requests do.
_WAIT_SECONDS: Final = 5.0
_STATEMENT_SECONDS: Final = 30.0

Result = TypeVar("Result")


class Places(NamedTuple):
    """Where the stores are, and what issuing sessions needs."""

    postgres: Postgres
    redis: Redis | None
    token_key: str
    lifetime_seconds: float
    lease_seconds: float


class Stores(NamedTuple):
    """The opened stores, for one command."""

    pool: Pool
    places: Places
    publisher: Publisher
    announcer: Announcer


class Answer(NamedTuple):
    """The outcome of a command: for programs, for people, and what has to be published.

    Attributes:
        value: what ``--json`` shows.
        text: what people read.
        changes: None for commands that only read.
        tenant: whose changes.
        remark: said beside the result.
        shows_level: whether ``--json`` shows how far the change came.
    """

    value: object
    text: str
    changes: tuple[Change, ...] | None = None
    tenant: str = ""
    remark: str = ""
    shows_level: bool = False


def find_places(config: Path | None) -> Places:
    """Where the stores are, from the configuration or else the environment; ends the command."""
    key = os.environ.get("SIDECAR_TOKEN_KEY", "")
    if config is not None:
        root = _load(config)
        session = root.credentials.session
        return Places(
            root.stores.postgres,
            root.stores.redis,
            root.credentials.token_key,
            43_200.0 if session is None else session.lifetime_seconds,
            root.cache.lease_seconds,
        )
    dsn = os.environ.get("DATABASE_URL") or os.environ.get("SIDECAR_DATABASE_URL")
    if not dsn:
        fail(
            "which database is not known",
            "give --config FILE, or set DATABASE_URL (and REDIS_URL)",
            Code.USAGE,
        )
    url = os.environ.get("REDIS_URL") or os.environ.get("SIDECAR_REDIS_URL")
    redis = Redis(url=url) if url else None
    return Places(Postgres(dsn=dsn), redis, key, 43_200.0, Cache().lease_seconds)


def _load(config: Path) -> Root:
    # Reading YAML takes time to import, and the environment may do without.
    from sidecar.cli.checking import load_or_fail  # noqa: PLC0415

    return load_or_fail(config)


def finish(work: Callable[[], Awaitable[Result]]) -> Result:
    """Runs `work`; its errors become sentences and exit codes."""

    async def awaited() -> Result:
        return await work()

    try:
        return asyncio.run(awaited())
    except (NotFound, Refused, Invalid, MigrationError) as error:
        fail(str(error))
    except StoresUnavailable as error:
        fail(
            f"nothing is known to have changed: {error}",
            "check that the database runs and where it is, then try again",
            Code.UNAVAILABLE,
        )


def answer(asked: Asked, work: Callable[[Stores], Awaitable[Answer]]) -> None:
    """Runs a command on the stores, publishes what it changed, writes the outcome."""
    places = find_places(asked.config)

    async def run() -> tuple[Answer, Acknowledgement | None]:
        settings = msgspec.structs.replace(
            places.postgres,
            pool_wait_seconds=_WAIT_SECONDS,
            statement_seconds=_STATEMENT_SECONDS,
        )
        async with Pool(settings, "sidecar admin") as pool:
            client = None if places.redis is None else open_client(places.redis)
            try:
                cache = None
                if client is not None and places.redis is not None:
                    cache = RedisCache(client, places.redis.prefix, 1)
                outbox = Outbox(pool)
                publisher = Publisher(cache, outbox)
                acknowledger = None
                if cache is not None and places.redis is not None:
                    bounds = Bounds(places.lease_seconds, places.redis.isolation_seconds)
                    acknowledger = Acknowledger(cache, outbox, bounds)
                announcer = Announcer(publisher.publish, outbox, acknowledger)
                found = await work(Stores(pool, places, publisher, announcer))
                if found.changes is None:
                    return found, None
                return found, await announcer.announce(found.tenant, found.changes, asked.wanted)
            finally:
                if client is not None:
                    await client.aclose()

    with _quiet(logging.getLogger("sidecar.sync")):
        found, came = finish(run)
    value = found.value
    if found.shows_level and isinstance(value, dict) and came is not None:
        value = value | came._asdict()
    emit(value, found.text, as_json=asked.as_json)
    if found.remark:
        note(found.remark)
    if found.changes == ():
        note("nothing had to be changed")
    if came is not None:
        _tell(asked.wanted, came, places)


def _tell(wanted: Wanted, came: Acknowledgement, places: Places) -> None:
    """Says how far it came, where that is not what was asked for or who confirmed matters."""
    if came.level is Level.APPLIED:
        who = f"{len(came.confirmed)} sidecar(s) confirmed"
        note(f"applied everywhere after {came.seconds * 1000:.0f} ms: {who}")
    elif wanted.level is Level.APPLIED:
        why = came.why or "it could not be announced"
        fail(
            f"stored, but not known to be in effect everywhere: {why}",
            f"sidecars follow within {places.lease_seconds:g} seconds as a rule; "
            "--ack-seconds waits longer",
            Code.UNAVAILABLE,
        )
    elif came.level is Level.COMMITTED and wanted.level is Level.PUBLISHED:
        warn_unpublished(places)


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keeps warnings of `logger` back: the outcome says the same in a sentence."""
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def warn_unpublished(places: Places) -> None:
    """Says when the sidecars will notice what could not be announced."""
    if places.redis is None:
        note("committed; no REDIS_URL, so a sidecar announces it: within about 2 seconds")
        return
    note(
        "committed, but Redis cannot be reached: sidecars that reach it notice within about 2 "
        f"seconds, others ask the database after {places.lease_seconds:g} seconds"
    )


async def tenant_of(asked: Asked, stores: Stores) -> str:
    """The tenant that is meant: the one named, or the only one.

    Raises:
        NotFound: there is none, or not that one.
        Refused: there are several and none was named.
    """
    tenants = Tenants(stores.pool)
    if asked.tenant is not None:
        if not await tenants.exists(asked.tenant):
            raise NotFound(
                f'there is no tenant "{asked.tenant}": '
                "`sidecar admin tenant list` shows them, `tenant create` makes one"
            )
        return asked.tenant
    known = await tenants.list(limit=6)
    if not known:
        raise NotFound("there is no tenant yet: create one with `sidecar admin tenant create`")
    if len(known) > 1:
        names = ", ".join(row.slug for row in known[:5]) + (", ..." if len(known) > 5 else "")
        raise Refused(f"there are several tenants ({names}): say which with --tenant")
    return known[0].slug

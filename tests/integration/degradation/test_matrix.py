"""Stores that are away, in every combination, through the whole sidecar (PROMISES 18)."""

import asyncio
import os
import time
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from sidecar.embedded import EmbeddedStack
from sidecar.settings.schema import Redis
from tests.integration.degradation.faults import (
    Administration,
    Lines,
    administrating,
    forged,
    lines,
    never_issued,
    until,
)
from tests.integration.degradation.table import (
    TABLE,
    TOLERATED,
    VALID,
    Kind,
    Row,
    Store,
    rendered,
)
from tests.integration.whole.conftest import ROUTES, Start, Whole

DOCUMENT = Path(__file__).parents[3] / "docs" / "degradation.md"
LOAD_SECONDS = 0.3
# Ten times the bound on loading: what is asserted is that there is one, not how busy we are.
ANSWER_SECONDS = 10 * LOAD_SECONDS
CACHE = {"lease_seconds": 0.4, "heartbeat_seconds": 0.1}
# The same application under a name where an old answer is better than none.
LENIENT_HOST = "lenient.example"
LENIENT = {
    "path": "/api/orders",
    "host": LENIENT_HOST,
    "permission": "orders:read",
    "last_known_good_seconds": 600.0,
}
SAME_SESSION = {
    Kind.LENIENT: Kind.REMEMBERED,
    Kind.LENIENT_REVOKED: Kind.REVOKED,
    Kind.LENIENT_REVOKED_NOW: Kind.REVOKED_NOW,
}
# What is promised, and what a busy machine may add.
RECOVERY_SECONDS = 5.0 + 5.0
FAULT_SECONDS = 10.0


class Bench:
    """A sidecar behind lines that break, and a token of each kind."""

    def __init__(self, whole: Whole, stores: Lines, admin: Administration) -> None:
        self.whole = whole
        self.stores = stores
        self.admin = admin
        self.tokens: dict[Kind, str] = {}

    async def prepare(self) -> None:
        """Everything is up: what the sidecar shall remember it is asked for now."""
        issue = self.admin.issue
        for kind in (Kind.REMEMBERED, Kind.REVOKED_NOW):
            self.tokens[kind] = await issue("bob")
            assert await self.status(kind) == 200
        self.tokens[Kind.SHARED] = await issue("carol")
        await self.admin.share(self.tokens[Kind.SHARED], "carol")
        self.tokens[Kind.STORED] = await issue("alice")
        self.tokens[Kind.REVOKED] = await issue("bob")
        assert await self.status(Kind.REVOKED) == 200
        await self.admin.revoke(self.tokens[Kind.REVOKED])
        # Told through Redis, and not asked since: nothing of it is in memory.
        applied = "sidecar_changes_applied_total"
        await until(lambda: self._at_least(applied, 1.0), FAULT_SECONDS)
        self.tokens[Kind.UNKNOWN] = never_issued()
        self.tokens[Kind.FORGED] = forged(self.tokens[Kind.STORED])

    async def _at_least(self, metric: str, value: float) -> bool:
        return await self.whole.metric(metric) >= value

    async def break_(self, row: Row) -> None:
        """The fault, the revocation during it, and all that has to pass until answers settle."""
        self.stores.postgres.be(row[0])
        self.stores.redis.be(row[1])
        await self.admin.revoke(self.tokens[Kind.REVOKED_NOW])
        await until(lambda: self._settled(row), FAULT_SECONDS)

    async def _settled(self, row: Row) -> bool:
        expected = TABLE[row]
        seen = await self.status(Kind.REMEMBERED)
        # Memory goes on until the lease ends; then the stores that are left have to answer.
        assert seen in {200, expected[Kind.REMEMBERED]}
        if row[1] is Store.UP:
            return await self.status(Kind.REVOKED_NOW) != 200
        return await self.whole.metric("sidecar_shards_leased") == 0.0

    async def status(self, kind: Kind) -> int:
        """Asks once; the status, which comes in time and says why it is a refusal."""
        path = "/healthz" if kind is Kind.PUBLIC else "/api/orders"
        fields = {"Host": LENIENT_HOST} if kind in SAME_SESSION else {}
        token = self.tokens.get(SAME_SESSION.get(kind, kind), "")
        begun = time.monotonic()
        status, answer = await self.whole.ask(token, "GET", path, headers=fields)
        assert time.monotonic() - begun < ANSWER_SECONDS
        if status == 503:
            assert answer["reason"] == "stores-unavailable"
        return status

    async def answers(self, kinds: Iterable[Kind] = Kind) -> dict[Kind, int]:
        asked = list(kinds)
        return dict(zip(asked, await asyncio.gather(*map(self.status, asked)), strict=True))

    async def agree(self, row: Row) -> bool:
        """Whether all get what the table says."""
        answers, expected = await self.answers(), dict(TABLE[row])
        if row[1] is Store.SLOW and answers[Kind.LENIENT_REVOKED_NOW] == 503:
            # News that come late do come: then what they are about is gone.
            expected[Kind.LENIENT_REVOKED_NOW] = 503
        assert answers == expected
        return True

    async def is_well(self) -> bool:
        answers = await self.answers()
        leased = await self.whole.metric("sidecar_lease_valid")
        return leased == 1.0 and answers == TABLE[Store.UP, Store.UP]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"postgres-{row[0]}-redis-{row[1]}")
async def test_each_row(start: Start, database: str, stack: EmbeddedStack, row: Row) -> None:
    prefix = f"degraded-{os.getpid()}-{conninfo_to_dict(database)['dbname']}"
    async with (
        lines(database, stack.redis_url) as stores,
        administrating(database, Redis(url=stack.redis_url, prefix=prefix)) as admin,
        start(
            cache=CACHE,
            routes=[*ROUTES, LENIENT],
            stores={
                "postgres": {"dsn": stores.dsn},
                "redis": {"url": stores.redis_url, "prefix": prefix},
                "load_seconds": LOAD_SECONDS,
            },
        ) as whole,
    ):
        bench = Bench(whole, stores, admin)
        await bench.prepare()
        await bench.break_(row)
        assert await bench.agree(row)
        # A second time: no refusal of a store is remembered as if it were a verdict.
        assert await bench.agree(row)
        stores.postgres.be(Store.UP)
        stores.redis.be(Store.UP)
        await until(bench.is_well, RECOVERY_SECONDS)


def test_a_fault_of_a_store_is_never_the_clients() -> None:
    """Who is told 401 signs in again, and all at once (PROMISES 18)."""
    away = (Store.UP, Store.REFUSED, Store.SILENT)
    assert set(TABLE) >= set(product(away, away)) | {(each, each) for each in Store}
    for row, statuses in TABLE.items():
        for kind, status in statuses.items():
            allowed = {200, 503} if kind in VALID else {401, 503}
            if kind in TOLERATED and Store.UP not in row:
                allowed.add(200)
            assert status in allowed, (row, kind)


def test_the_document_shows_this_table() -> None:
    assert rendered() in DOCUMENT.read_text(encoding="utf-8")

"""A user with very many grants, through real stores: right answers, and others are served on."""

import pytest

from sidecar.demo.tenant import TENANT
from sidecar.settings.schema import Postgres
from sidecar.store.pool import Pool
from tests.integration.whole.conftest import Start, Whole

# More than one slice compiles; each is a row with triggers, hence not many more.
GRANTS = 1_500
_GRANT = """
INSERT INTO auth_rule_grant (tenant, subject, effect, action, resource)
SELECT %s, 'mallory', 'deny', 'orders:read', 'orders/' || n FROM generate_series(1, %s) AS n
RETURNING 1
"""
_ENABLE = "UPDATE auth_user SET status = 'active' WHERE tenant = %s AND subject = %s RETURNING 1"


async def statuses(whole: Whole) -> list[int]:
    """Of two orders that are denied, and one that is not (there is none, says the application)."""
    asked = [f"/api/orders/{order}" for order in (1, GRANTS, GRANTS + 1)]
    return [(await whole.ask("mallory", "GET", path))[0] for path in asked]


@pytest.mark.parametrize("redis", ["", None])
async def test_a_user_with_very_many_grants(start: Start, database: str, redis: str | None) -> None:
    async with start(redis=redis) as whole:
        async with Pool(Postgres(dsn=database, statement_seconds=30.0)) as pool:
            await pool.fetch(_ENABLE, (TENANT, "mallory"))
            await pool.fetch(_GRANT, (TENANT, GRANTS))
        assert await statuses(whole) == [403, 403, 404]
        assert await statuses(whole) == [403, 403, 404]
        for kind in ("session", "user", "roles"):
            name = f'sidecar_entry_lifetime_seconds{{kind="{kind}"}}'
            assert await whole.metric(name) == pytest.approx(60.0, rel=0.5)

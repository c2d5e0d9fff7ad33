"""What an operator sees of the news, on whole sidecars."""

import asyncio

from sidecar.embedded import EmbeddedStack
from sidecar.model.facts import Status
from sidecar.settings.schema import Postgres
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.store.users import Users
from sidecar.sync.publisher import Publisher
from sidecar.sync.redis_cache import RedisCache, open_client
from tests.integration.whole.conftest import Start, Whole, settings


async def reaches(whole: Whole, metric: str, least: float) -> None:
    """Until a metric is at least that much; at most ten seconds."""
    async with asyncio.timeout(10):
        while await whole.metric(metric) < least:
            await asyncio.sleep(0.01)


async def test_a_change_shows_how_late_it_was(
    start: Start, database: str, stack: EmbeddedStack
) -> None:
    redis = settings(database, stack.redis_url, "http://127.0.0.1:1").stores.redis
    assert redis is not None
    async with start() as whole:
        assert await whole.metric("sidecar_shards_leased") == 16.0
        assert await whole.metric("sidecar_shards_suspect") == 0.0
        assert await whole.metric("sidecar_news_gap") == 0.0
        before = await whole.metric("sidecar_news_lag_seconds_count")
        client = open_client(redis)
        async with Pool(Postgres(dsn=database)) as pool:
            publisher = Publisher(RedisCache(client, redis.prefix, 60.0), Outbox(pool))
            await publisher.publish(await Users(pool).set_status("demo", "bob", Status.DISABLED))
        await client.aclose()
        await reaches(whole, "sidecar_news_lag_seconds_count", before + 1)
        assert await whole.metric("sidecar_news_lag_seconds_sum") < 10.0


async def test_without_redis_there_is_no_lag_and_the_leases_show(start: Start) -> None:
    async with start(redis=None) as whole:
        await reaches(whole, "sidecar_shards_leased", 16.0)
        assert await whole.metric("sidecar_news_lag_seconds_count") == 0.0

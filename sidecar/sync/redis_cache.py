"""The second cache level: facts in Redis, and the scripts that keep them honest."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from redis.exceptions import RedisError

from sidecar.model.need import StoreNeed, shard_of_need
from sidecar.settings.schema import Redis
from sidecar.sync import scripts
from sidecar.sync.in_turns import Unread, encode_in_turns, is_large
from sidecar.sync.keyspace import Head, StoreFact, decode_fact
from sidecar.sync.redis_answers import Filling, Life, Look, Outcome, Told, head_of
from sidecar.sync.redis_calls import ShardCall
from sidecar.sync.redis_client import RedisClient, open_client
from sidecar.sync.redis_node import Script
from sidecar.sync.redis_shards import RedisShards

__all__ = ["Filling", "Life", "Look", "Outcome", "RedisCache", "Told", "open_client"]

# Favourites kept for each shard (all may be of one tenant); how long without any report; how soon
# a use counts half: what is used now, not what was used yesterday.
_FAVOURITES: Final = 10_000
_FAVOURITE_SECONDS: Final = 86_400
_HALF_LIFE_SECONDS: Final = 900
# Values read, or favourites counted, by one call of a script: less than a millisecond of Redis.
_BATCH: Final = 250

_READ: Final = Script(scripts.READ)
_READ_MANY: Final = Script(scripts.READ_MANY)
_FILL: Final = Script(scripts.FILL)
_FILL_MANY: Final = Script(scripts.FILL_MANY)
_NOTE_USED: Final = Script(scripts.NOTE_USED)


class RedisCache(RedisShards):
    """Facts by need. Every method raises `RedisError` or `OSError` when Redis cannot be asked.

    Args:
        client: from `open_client`; closed by whoever opened it.
        prefix: see `Keyspace`.
        entry_seconds: how long a value is kept.
        command_seconds: bound on each call.
    """

    def __init__(
        self,
        client: RedisClient,
        prefix: str,
        entry_seconds: float,
        command_seconds: float = Redis().command_seconds,
    ) -> None:
        super().__init__(client, prefix, command_seconds)
        self._seconds = max(1, round(entry_seconds))

    async def look(self, need: StoreNeed) -> Look:
        """Reads a fact together with the head of its shard; a large one is left `unread`."""
        key, shard = self.keys.value(need), shard_of_need(need)
        call = ShardCall(shard, [self.keys.head(shard), key])
        fields, blob = await self._calls.call(_READ, call)
        head = head_of(fields)
        if head is None or blob is None:
            return Look(None, head)
        return _look(key, need, blob, head)

    async def look_many(self, needs: Sequence[StoreNeed]) -> list[Look]:
        """As `look`, for some hundreds of needs in one round trip; in their order."""
        batches = list(_batches(enumerate(needs)))
        values = [[self.keys.value(need) for _, need in batch] for _, batch in batches]
        calls = [
            ShardCall(shard, [self.keys.head(shard), *keys])
            for (shard, _), keys in zip(batches, values, strict=True)
        ]
        looks = [Look(None, None)] * len(needs)
        answers = await self._calls.call_each(_READ_MANY, calls)
        for (_, batch), keys, answer in zip(batches, values, answers, strict=True):
            if isinstance(answer, RedisError | OSError):
                continue
            fields, blobs = answer
            head = head_of(fields)
            if head is None:
                continue
            for (place, need), key, blob in zip(batch, keys, blobs, strict=True):
                looks[place] = Look(None, head) if blob is None else _look(key, need, blob, head)
        return looks

    async def fill(self, need: StoreNeed, fact: StoreFact, head: Head) -> Filling:
        """Stores what PostgreSQL answered after a miss at `head`, or says why not (R4)."""
        key, shard = self.keys.value(need), shard_of_need(need)
        blob = await encode_in_turns(key, fact, head)
        if blob is None:
            return Filling.SIZE
        values: list[str | int | bytes] = [head.seq, head.epoch, self._seconds, blob]
        answer = await self._calls.call(
            _FILL, ShardCall(shard, [self.keys.head(shard), key], values)
        )
        return Filling(answer.decode())

    async def fill_many(
        self, fills: Sequence[tuple[StoreNeed, StoreFact, Head]]
    ) -> list[Filling | None]:
        """As `fill`, for some dozens in one round trip; None for what was not answered."""
        filled: list[Filling | None] = [None] * len(fills)
        places: list[list[int]] = []
        calls: list[ShardCall] = []
        for shard, batch in _batches((at, need) for at, (need, _, _) in enumerate(fills)):
            keys: list[str | bytes] = [self.keys.head(shard)]
            values: list[str | int | bytes] = [self._seconds]
            places.append([])
            for place, need in batch:
                _, fact, head = fills[place]
                key = self.keys.value(need)
                blob = await encode_in_turns(key, fact, head)
                if blob is None:
                    filled[place] = Filling.SIZE
                    continue
                keys.append(key)
                values += (head.seq, head.epoch, blob)
                places[-1].append(place)
            calls.append(ShardCall(shard, keys, values))
        answers = await self._calls.call_each(_FILL_MANY, calls)
        for batched, answer in zip(places, answers, strict=True):
            if isinstance(answer, RedisError | OSError):
                continue
            for place, each in zip(batched, answer, strict=True):
                filled[place] = Filling(each.decode())
        return filled

    async def note_used(self, members: Mapping[int, Sequence[bytes]]) -> None:
        """Counts these favourites once more, by shard; older counts fade."""
        bounds = (_FAVOURITES, _FAVOURITE_SECONDS, _HALF_LIFE_SECONDS)
        calls = []
        for shard, each in members.items():
            for begin in range(0, len(each), _BATCH):
                values: list[str | int | bytes] = [*bounds, *each[begin : begin + _BATCH]]
                calls.append(ShardCall(shard, [self.keys.used(shard)], values))
        await self._calls.call_each(_NOTE_USED, calls)

    async def most_used(self, shard: int, most: int) -> list[bytes]:
        """The favourites of `shard`, most used first."""
        async with self._calls.node(shard) as node:
            found: Any = await node.client.zrevrange(self.keys.used(shard), 0, most - 1)
        return list(found)


def _look(key: bytes, need: StoreNeed, blob: bytes, head: Head) -> Look:
    if is_large(need, blob):
        return Look(None, head, Unread(key, need, blob, head))
    return Look(decode_fact(key, need, blob, head), head)


def _batches(
    needs: Iterable[tuple[int, StoreNeed]],
) -> Iterator[tuple[int, list[tuple[int, StoreNeed]]]]:
    """`needs` with their places, in batches of one shard each."""
    shards: dict[int, list[tuple[int, StoreNeed]]] = {}
    for place, need in needs:
        shards.setdefault(shard_of_need(need), []).append((place, need))
    for shard, each in shards.items():
        for begin in range(0, len(each), _BATCH):
            yield shard, each[begin : begin + _BATCH]

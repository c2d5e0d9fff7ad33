"""The second cache level: facts in Redis, and the scripts that keep them honest."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, Final, NamedTuple

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript

from sidecar.cache.acknowledgement import Confirmation
from sidecar.model.change import Change, ChangeKind, ShardState
from sidecar.model.need import StoreNeed, shard_of_need
from sidecar.model.shard import SHARDS
from sidecar.settings.schema import Redis
from sidecar.sync import scripts
from sidecar.sync.keyspace import (
    Head,
    Keyspace,
    News,
    StoreFact,
    decode_fact,
    decode_news,
    encode_fact,
    encode_news,
)

# A sidecar that missed more than this many changes of a shard starts anew.
_LOG_LENGTH: Final = 10_000
# A sidecar silent for longer than this is forgotten; its lease ended long before.
_MEMBER_MILLISECONDS: Final = 60_000


# Keys and arguments of one call of a script.
_Call = tuple[list[str | bytes], list[str | int | bytes]]
# Favourites kept for each shard (all may be of one tenant); how long without any report; how soon
# a use counts half: what is used now, not what was used yesterday.
_FAVOURITES: Final = 10_000
_FAVOURITE_SECONDS: Final = 86_400
_HALF_LIFE_SECONDS: Final = 900
# Values read, or favourites counted, by one call of a script: less than a millisecond of Redis.
_BATCH: Final = 250


class Outcome(StrEnum):
    """What Redis said to an invalidation."""

    DONE = "done"
    # Redis has not heard of earlier changes.
    GAP = "gap"
    # Its content belongs to another epoch.
    EPOCH = "epoch"
    # It does not know the shard: new, flushed, or evicted.
    SUSPECT = "suspect"


class Told(NamedTuple):
    """An outcome, and what Redis knows now (0 where it knows nothing)."""

    outcome: Outcome
    seq: int
    epoch: int


class Life(NamedTuple):
    """A life of a shard's content in Redis, as it was seen at one moment."""

    identity: str
    epoch: str
    nonce: str


class Look(NamedTuple):
    """What a read found: the fact, if there, and the head a fill must carry, if it is known."""

    fact: StoreFact | None
    head: Head | None


def open_client(settings: Redis) -> redis.asyncio.Redis:
    """A client without retries and with few connections, for `RedisCache`, which bounds each call.

    redis-py's own `socket_timeout` goes through `asyncio.wait_for`, which before Python 3.12 loses
    a cancellation that arrives as the awaited thing ends; and it costs a task for each command.
    """
    connections = redis.asyncio.BlockingConnectionPool.from_url(
        settings.url,
        max_connections=settings.connections,
        timeout=settings.command_seconds,
        socket_timeout=None,
        socket_connect_timeout=settings.connect_seconds,
        # By default ten retries with pauses: a request would wait for seconds.
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        client_name="sidecar",
    )
    return redis.asyncio.Redis.from_pool(connections)


class RedisCache:
    """Facts by need. Every method raises `redis.RedisError` when Redis cannot be asked.

    Args:
        client: from `open_client`; closed by whoever opened it.
        prefix: see `Keyspace`.
        entry_seconds: how long a value is kept.
        command_seconds: bound on each call.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        prefix: str,
        entry_seconds: float,
        command_seconds: float = Redis(url="").command_seconds,
    ) -> None:
        self.keys = Keyspace(prefix)
        self._command_seconds = command_seconds
        self._client = client
        self._seconds = max(1, round(entry_seconds))
        self._read = client.register_script(scripts.READ)
        self._read_many = client.register_script(scripts.READ_MANY)
        self._fill = client.register_script(scripts.FILL)
        self._invalidate = client.register_script(scripts.INVALIDATE)
        self._establish = client.register_script(scripts.ESTABLISH)
        self._head = client.register_script(scripts.HEAD)
        self._life = client.register_script(scripts.LIFE)
        self._heartbeat = client.register_script(scripts.HEARTBEAT)
        self._members = client.register_script(scripts.MEMBERS)
        self._note_used = client.register_script(scripts.NOTE_USED)

    async def look(self, need: StoreNeed) -> Look:
        """Reads a fact together with the head of its shard."""
        key = self.keys.value(need)
        async with self._bounded():
            fields, blob = await self._read(keys=[self.keys.head(shard_of_need(need)), key])
        head = _head(fields)
        if head is None or blob is None:
            return Look(None, head)
        return Look(decode_fact(key, need, blob, head), head)

    async def look_many(self, needs: Sequence[StoreNeed]) -> list[Look]:
        """As `look`, for some hundreds of needs in one round trip; in their order."""
        batches = list(_batches(enumerate(needs)))
        calls: list[_Call] = [
            ([self.keys.head(shard), *(self.keys.value(need) for _, need in batch)], [])
            for shard, batch in batches
        ]
        looks = [Look(None, None)] * len(needs)
        answers = await self._each(self._read_many, calls)
        for (_, batch), (fields, blobs) in zip(batches, answers, strict=True):
            head = _head(fields)
            if head is None:
                continue
            for (place, need), blob in zip(batch, blobs, strict=True):
                fact = (
                    None if blob is None else decode_fact(self.keys.value(need), need, blob, head)
                )
                looks[place] = Look(fact, head)
        return looks

    async def fill(self, need: StoreNeed, fact: StoreFact, head: Head) -> bool:
        """Stores what PostgreSQL answered after a miss at `head`; False when refused (R4)."""
        key = self.keys.value(need)
        blob = encode_fact(key, fact, head)
        if blob is None:
            return False
        async with self._bounded():
            filled = await self._fill(
                keys=[self.keys.head(shard_of_need(need)), key],
                args=[head.seq, head.epoch, self._seconds, blob],
            )
        return bool(filled)

    async def invalidate(self, state: ShardState, changes: Sequence[Change]) -> Told:
        """Tells Redis, and through it everybody, of `changes` of a shard, in order (R3).

        Args:
            state: the shard as PostgreSQL has it since they were committed: epoch and incarnation.
            changes: what to tell.
        """
        shard, epoch = state.shard, state.epoch
        head = self.keys.head(shard)
        keys: list[str | bytes] = [head, self.keys.log(shard)]
        values: list[Any] = [self.keys.channels[shard], epoch, _LOG_LENGTH, state.incarnation]
        for change in changes:
            touched = self.keys.touched(change)
            # Some key of the shard has to stand in the place that is not used.
            keys.append(head if touched is None else touched)
            values += [change.seq, int(touched is None), encode_news(change, epoch)]
        async with self._bounded():
            outcome, seq, known_epoch = await self._invalidate(keys=keys, args=values)
        return Told(Outcome(outcome.decode()), seq, known_epoch)

    async def life(self, shard: int) -> Life:
        """The present life of a shard's content; to be seen before a new one is chosen."""
        async with self._bounded():
            identity, epoch, nonce = await self._life(
                keys=[self.keys.head(shard)], args=[secrets.token_hex(16)]
            )
        return Life(identity.decode(), epoch.decode(), nonce.decode())

    async def establish(self, state: ShardState, seen: Life | None = None) -> bool:
        """Begins the life `state.epoch` of a shard's content: what is there is a miss from now on.

        Sidecars keep their memory: sequences are PostgreSQL's and go on. False when the life is no
        longer the one that was `seen` before `state` was chosen (the present one for None).
        """
        seen = seen or await self.life(state.shard)
        begun = Change(state.shard, state.seq, ChangeKind.EPOCH, "", version=state.seq)
        message = encode_news(begun, state.epoch)
        async with self._bounded():
            established = await self._establish(
                keys=[
                    self.keys.head(state.shard),
                    self.keys.log(state.shard),
                    self.keys.members(state.shard),
                ],
                args=[
                    self.keys.channels[state.shard],
                    state.seq,
                    state.epoch,
                    message,
                    state.incarnation,
                    *seen,
                ],
            )
        return bool(established)

    async def heads(self) -> list[Head | None]:
        """The heads of all shards, in order; None where Redis cannot vouch for its content."""
        calls: list[_Call] = [([self.keys.head(shard)], []) for shard in range(SHARDS)]
        return [_head(fields) for fields in await self._each(self._head, calls)]

    async def beat(
        self, member: str, watermarks: Mapping[int, int | None]
    ) -> dict[int, Head | None]:
        """A heartbeat for each shard of `watermarks`: says what was applied, learns the heads.

        Args:
            member: the sidecar, 128 random bits of its process (R7).
            watermarks: by shard; None where nothing was applied yet.
        """
        calls: list[_Call] = [
            (
                [self.keys.head(shard), self.keys.members(shard)],
                [member, -1 if watermark is None else watermark, _MEMBER_MILLISECONDS],
            )
            for shard, watermark in watermarks.items()
        ]
        answers = await self._each(self._heartbeat, calls)
        return {shard: _head(fields) for shard, fields in zip(watermarks, answers, strict=True)}

    async def _each(self, script: AsyncScript, calls: Sequence[_Call]) -> list[Any]:
        """The answers of one script to several calls, in one round trip."""
        try:
            return await self._pipelined(script, calls)
        except redis.exceptions.NoScriptError:
            async with self._bounded():
                await self._client.script_load(script.script)
            return await self._pipelined(script, calls)

    async def _pipelined(self, script: AsyncScript, calls: Sequence[_Call]) -> list[Any]:
        async with self._bounded(), self._client.pipeline(transaction=False) as pipeline:
            for keys, values in calls:
                pipeline.evalsha(script.sha, len(keys), *keys, *values)
            answers: list[Any] = await pipeline.execute()
        return answers

    async def members(self, shard: int) -> tuple[Head | None, float, list[Confirmation]]:
        """The head of `shard`, the age of its epoch here, and each sidecar's last heartbeat."""
        async with self._bounded():
            fields, pairs, now, begun = await self._members(
                keys=[self.keys.head(shard), self.keys.members(shard)]
            )
        confirmations = []
        for member, words in zip(pairs[::2], pairs[1::2], strict=True):
            watermark, epoch, served = (int(word) for word in words.split())
            age = (int(now) - served) / 1000
            confirmations.append(Confirmation(member.decode(), watermark, epoch, age))
        epoch_age = (int(now) - int(begun)) / 1000 if begun else 0.0
        return _head(fields), epoch_age, confirmations

    async def note_used(self, members: Mapping[int, Sequence[bytes]]) -> None:
        """Counts these favourites once more, by shard; older counts fade."""
        calls: list[_Call] = [
            (
                [self.keys.used(shard)],
                [
                    _FAVOURITES,
                    _FAVOURITE_SECONDS,
                    _HALF_LIFE_SECONDS,
                    *each[begin : begin + _BATCH],
                ],
            )
            for shard, each in members.items()
            for begin in range(0, len(each), _BATCH)
        ]
        await self._each(self._note_used, calls)

    async def most_used(self, shard: int, most: int) -> list[bytes]:
        """The favourites of `shard`, most used first."""
        async with self._bounded():
            found: Any = await self._client.zrevrange(self.keys.used(shard), 0, most - 1)
        return list(found)

    async def may_lose_writes(self) -> bool:
        """Whether a failover could lose what Redis acknowledged (R2).

        That is so with replicas and without `min-replicas-to-write`; INFO names the good replicas
        only where the latter is set.
        """
        async with self._bounded():
            told = await self._client.info("replication")
        return told.get("connected_slaves", 0) > 0 and "min_slaves_good_slaves" not in told

    async def log(self, shard: int, first: int, last: int) -> list[News]:
        """What the log still holds of the changes `first` to `last`, in order."""
        async with self._bounded():
            entries: Any = await self._client.xrange(
                self.keys.log(shard), f"{first}-0", f"{last}-0"
            )
        found = [decode_news(fields[b"m"]) for _, fields in entries]
        return [news for news in found if news is not None]

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._command_seconds):
                yield
        except TimeoutError as error:
            raise redis.exceptions.TimeoutError("Redis did not answer in time") from error


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


def _head(fields: list[bytes] | None) -> Head | None:
    """The head in a script's answer; None where it answered "suspect"."""
    if not fields:
        return None
    seq, epoch, floor, _, incarnation = fields
    return Head(int(seq), int(epoch), int(floor), incarnation.decode())

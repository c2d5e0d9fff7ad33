"""What Redis knows of each shard: its head, its life, its log, and who has applied what."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from redis.exceptions import RedisError

from sidecar.cache.acknowledgement import Confirmation
from sidecar.model.change import Change, ChangeKind, ShardState
from sidecar.model.shard import SHARDS
from sidecar.settings.schema import Redis
from sidecar.sync import scripts
from sidecar.sync.keyspace import Head, Keyspace, News, decode_news, encode_news
from sidecar.sync.redis_answers import Life, Outcome, Told, head_of
from sidecar.sync.redis_calls import Calls, ShardCall
from sidecar.sync.redis_client import RedisClient
from sidecar.sync.redis_node import Script

# A sidecar that missed more than this many changes of a shard asks PostgreSQL.
_LOG_LENGTH: Final = 10_000
# A sidecar silent for longer than this is forgotten; its lease ended long before.
_MEMBER_MILLISECONDS: Final = 60_000

_INVALIDATE: Final = Script(scripts.INVALIDATE)
_ESTABLISH: Final = Script(scripts.ESTABLISH)
_HEADS: Final = Script(scripts.HEADS)
_LIFE: Final = Script(scripts.LIFE)
_HEARTBEATS: Final = Script(scripts.HEARTBEATS)
_MEMBERS: Final = Script(scripts.MEMBERS)
_RESIGN: Final = Script(scripts.RESIGN)


class RedisShards:
    """The shards in Redis. Every method raises `RedisError` or `OSError` when nobody answers.

    Args:
        client: from `open_client`; closed by whoever opened it.
        prefix: see `Keyspace`.
        command_seconds: bound on each call.
    """

    def __init__(
        self,
        client: RedisClient,
        prefix: str,
        command_seconds: float = Redis().command_seconds,
    ) -> None:
        self.keys = Keyspace(prefix)
        self._client = client
        self._calls = Calls(client, command_seconds)
        self._publish = "SPUBLISH" if client.sharded else "PUBLISH"

    async def invalidate(self, state: ShardState, changes: Sequence[Change]) -> Told:
        """Tells Redis, and through it everybody, of `changes` of a shard, in order (R3).

        Args:
            state: the shard as PostgreSQL has it since they were committed: epoch and incarnation.
            changes: what to tell.
        """
        shard, epoch = state.shard, state.epoch
        head = self.keys.head(shard)
        keys: list[str | bytes] = [head, self.keys.log(shard)]
        channel = self.keys.channels[shard]
        values: list[str | int | bytes] = [
            self._publish, channel, epoch, _LOG_LENGTH, state.incarnation
        ]  # fmt: skip
        for change in changes:
            touched = self.keys.touched(change)
            # Some key of the shard has to stand in the place that is not used.
            keys.append(head if touched is None else touched)
            values += [change.seq, int(touched is None), encode_news(change, epoch)]
        answer = await self._calls.call(_INVALIDATE, ShardCall(shard, keys, values))
        outcome, seq, known_epoch = answer
        if outcome == b"suspect":
            self._client.doubt()
        return Told(Outcome(outcome.decode()), seq, known_epoch)

    async def life(self, shard: int) -> Life:
        """The present life of a shard's content; to be seen before a new one is chosen."""
        call = ShardCall(shard, [self.keys.head(shard)], [secrets.token_hex(16)])
        identity, epoch, nonce = await self._calls.call(_LIFE, call)
        return Life(identity.decode(), epoch.decode(), nonce.decode())

    async def establish(self, state: ShardState, seen: Life | None = None) -> bool:
        """Begins the life `state.epoch` of a shard's content: what is there is a miss from now on.

        Sidecars keep their memory: sequences are PostgreSQL's and go on. False when the life is no
        longer the one that was `seen` before `state` was chosen (the present one for None).
        """
        shard = state.shard
        seen = seen or await self.life(shard)
        begun = Change(shard, state.seq, ChangeKind.EPOCH, "", version=state.seq)
        keys = [self.keys.head(shard), self.keys.log(shard), self.keys.members(shard)]
        values: list[str | int | bytes] = [
            self._publish,
            self.keys.channels[shard],
            state.seq,
            state.epoch,
            encode_news(begun, state.epoch),
            state.incarnation,
            *seen,
        ]
        return bool(await self._calls.call(_ESTABLISH, ShardCall(shard, keys, values)))

    async def heads(self) -> dict[int, Head | None]:
        """The heads of all shards whose server answers; None where it cannot vouch for them."""
        return await self._heads(
            _HEADS,
            [
                ShardCall(shard, [self.keys.head(shard), self.keys.members(shard)])
                for shard in range(SHARDS)
            ],
        )

    async def beat(
        self, member: str, watermarks: Mapping[int, int | None]
    ) -> dict[int, Head | None]:
        """A heartbeat for each shard of `watermarks`: says what was applied, learns the heads.

        Args:
            member: the sidecar, 128 random bits of its process (R7).
            watermarks: by shard; None where nothing was applied yet.

        Returns:
            As `heads`: the shards whose server answered.
        """
        calls = [
            ShardCall(
                shard,
                [self.keys.head(shard), self.keys.members(shard)],
                [-1 if watermark is None else watermark],
            )
            for shard, watermark in watermarks.items()
        ]
        return await self._heads(_HEARTBEATS, calls, member, _MEMBER_MILLISECONDS)

    async def resign(self, member: str) -> None:
        """Nobody need wait for `member` any more. A shard whose server is away forgets it later."""
        calls = [ShardCall(shard, [self.keys.members(shard)], [member]) for shard in range(SHARDS)]
        await self._calls.call_each(_RESIGN, calls)

    async def _heads(
        self, script: Script, calls: Sequence[ShardCall], *common: str | int
    ) -> dict[int, Head | None]:
        answers = await self._calls.call_at_once(script, calls, common)
        heads = {
            call.shard: head_of(answer)
            for call, answer in zip(calls, answers, strict=True)
            if not isinstance(answer, RedisError | OSError)
        }
        if None in heads.values():
            # A former master, which is a replica now, cannot vouch for what it copies.
            self._client.doubt()
        return heads

    async def together(self, shards: Iterable[int]) -> list[set[int]]:
        """`shards` in groups that one server answers for."""
        return await self._calls.together(shards)

    async def members(self, shard: int) -> tuple[Head | None, float, list[Confirmation]]:
        """The head of `shard`, the age of its epoch here, and each sidecar's last heartbeat."""
        call = ShardCall(shard, [self.keys.head(shard), self.keys.members(shard)])
        fields, pairs, now, begun = await self._calls.call(_MEMBERS, call)
        confirmations = []
        for member, words in zip(pairs[::2], pairs[1::2], strict=True):
            if member == b"clock":
                continue
            watermark, epoch, served = (int(word) for word in words.split())
            age = (int(now) - served) / 1000
            confirmations.append(Confirmation(member.decode(), watermark, epoch, age))
        epoch_age = (int(now) - int(begun)) / 1000 if begun else 0.0
        return head_of(fields), epoch_age, confirmations

    async def may_lose_writes(self, shards: Iterable[int] | None = None) -> bool:
        """Whether a failover could lose what Redis acknowledged of `shards` (R2); all for None.

        That is so with replicas and without `min-replicas-to-write`; INFO names the good replicas
        only where the latter is set. With Sentinel and in a Cluster a replica that is away just now
        may come back as the master, so it does not help that none is connected.
        """
        replicated = self._client.settings.topology != "standalone"
        asked = set()
        for shard in range(SHARDS) if shards is None else shards:
            async with self._calls.node(shard) as node:
                if node in asked:
                    continue
                asked.add(node)
                told = await node.client.info("replication")
            if "min_slaves_good_slaves" not in told and (
                replicated or told.get("connected_slaves", 0) > 0
            ):
                return True
        return False

    async def log(self, shard: int, first: int, last: int) -> list[News]:
        """What the log still holds of the changes `first` to `last`, in order."""
        async with self._calls.node(shard) as node:
            entries: Any = await node.client.xrange(self.keys.log(shard), f"{first}-0", f"{last}-0")
        found = [decode_news(fields[b"m"]) for _, fields in entries]
        return [news for news in found if news is not None]

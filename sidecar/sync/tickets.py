"""One-time tickets for WebSocket handshakes: issued here, redeemed on any sidecar, once.

A ticket is 256 random bits and lives in Redis under its digest, in the shard of the session that it
stands for, until it is redeemed (GETDEL) or a few seconds have passed. What Redis forgets is a
ticket less: its page asks for another. It opens nothing by itself: the session is checked as for
any handshake. (An isolated old master could give one out a second time; within its seconds, and to
whoever holds it.)

Without Redis in the configuration tickets live in this process, which is enough where it is the
only one. Where Redis is configured and does not answer, there are none: 503.
"""

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64Error
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec
from redis.exceptions import RedisError

from sidecar.clock import wall
from sidecar.model.errors import StoresUnavailable
from sidecar.model.head import RequestHead
from sidecar.model.need import SessionNeed
from sidecar.model.shard import SHARDS
from sidecar.settings.schema import Redis
from sidecar.sync.redis_calls import Calls, ShardCall
from sidecar.sync.redis_client import RedisClient
from sidecar.sync.redis_node import Script

_PREFIX: Final = "sct1_"
_RANDOM_BYTES: Final = 32
# With the shard before it a multiple of three: one encoding, no padding.
_CHARACTERS: Final = 44
# Of this process, where there is no Redis; the oldest goes first.
_MOST_HERE: Final = 10_000

_KEEP: Final = Script("return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX')")
_TAKE: Final = Script("return redis.call('GETDEL', KEYS[1])")


class Bound(msgspec.Struct, frozen=True, array_like=True):
    """What a ticket is bound to.

    Attributes:
        session: digest of the session's token.
        host: asked for.
        path: canonical.
        origin: of the page; ``""`` for none.
        expires_at: wall-clock end.
    """

    session: bytes
    host: str
    path: str
    origin: str
    expires_at: float


class Issued(NamedTuple):
    """A new ticket. `ticket` exists here and with the page, nowhere else.

    Attributes:
        ticket: the secret.
        seconds: for how long it can be redeemed.
    """

    ticket: str
    seconds: float


class Tickets:
    """Issues and redeems tickets.

    Args:
        client: of Redis; None where none is configured.
        settings: of Redis.
        seconds: how long a ticket can be redeemed.
    """

    def __init__(self, client: RedisClient | None, settings: Redis | None, seconds: float) -> None:
        self._seconds = seconds
        self._prefix = "" if settings is None else settings.prefix
        self._calls = (
            None if client is None or settings is None else Calls(client, settings.command_seconds)
        )
        self._here: dict[bytes, bytes] = {}

    async def issue(self, session: SessionNeed, host: str, path: str, origin: str) -> Issued:
        """A ticket for one handshake.

        Raises:
            StoresUnavailable: Redis did not keep it.
        """
        shard = session.shard % SHARDS
        random = bytes((shard,)) + secrets.token_bytes(_RANDOM_BYTES)
        bound = Bound(session.digest, host, path, origin, wall() + self._seconds)
        await self._keep(shard, sha256(random).digest(), msgspec.msgpack.encode(bound))
        return Issued(_PREFIX + urlsafe_b64encode(random).decode("ascii"), self._seconds)

    async def redeem(self, ticket: bytes, head: RequestHead) -> SessionNeed | None:
        """The session that `ticket` stands for in this handshake; None where it does not.

        It is spent by that in any case.

        Raises:
            StoresUnavailable: Redis could not be asked.
        """
        random = _decoded(ticket)
        if random is None:
            return None
        shard = random[0] % SHARDS
        kept = await self._take(shard, sha256(random).digest())
        if kept is None:
            return None
        bound = msgspec.msgpack.decode(kept, type=Bound)
        origins = head.values(b"origin")
        origin = origins[0].decode("latin-1") if origins else ""
        if (
            wall() >= bound.expires_at
            or len(origins) > 1
            or (bound.host, bound.path, bound.origin) != (head.host, head.path, origin)
        ):
            return None
        return SessionNeed(bound.session, shard)

    async def _keep(self, shard: int, digest: bytes, bound: bytes) -> None:
        if self._calls is None:
            if len(self._here) >= _MOST_HERE:
                del self._here[next(iter(self._here))]
            self._here[digest] = bound
            return
        call = ShardCall(shard, [self._key(shard, digest)], [bound, round(self._seconds * 1000)])
        try:
            await self._calls.call(_KEEP, call)
        except (RedisError, OSError) as error:
            raise StoresUnavailable("Redis did not keep a ticket") from error

    async def _take(self, shard: int, digest: bytes) -> bytes | None:
        if self._calls is None:
            return self._here.pop(digest, None)
        try:
            kept = await self._calls.call(_TAKE, ShardCall(shard, [self._key(shard, digest)]))
        except (RedisError, OSError) as error:
            raise StoresUnavailable("Redis could not be asked for a ticket") from error
        return bytes(kept) if kept else None

    def _key(self, shard: int, digest: bytes) -> str:
        # In braces what a Cluster keeps in one place (see `keyspace`).
        return f"{self._prefix}:{{a{shard:02d}}}:ticket:{digest.hex()}"


def _decoded(ticket: bytes) -> bytes | None:
    prefix = _PREFIX.encode()
    if not ticket.startswith(prefix) or len(ticket) != len(prefix) + _CHARACTERS:
        return None
    try:
        random = urlsafe_b64decode(ticket.removeprefix(prefix))
    except (NotBase64Error, ValueError):
        return None
    return random if len(random) == _RANDOM_BYTES + 1 else None

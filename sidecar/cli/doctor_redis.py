"""What `sidecar doctor` looks at in Redis: every server that the topology has now."""

import asyncio
import math
import secrets
from functools import partial
from statistics import median
from typing import Any, Final
from urllib.parse import urlsplit

from redis.exceptions import RedisError, ResponseError

from sidecar.cli.doctor_findings import (
    CHECK_SECONDS,
    Finding,
    bounded,
    examine_each,
    fine,
    problem,
    warning,
)
from sidecar.clock import stopwatch
from sidecar.settings.schema import Redis
from sidecar.sync import scripts
from sidecar.sync.keyspace import Keyspace
from sidecar.sync.redis_client import RedisClient, open_client
from sidecar.sync.redis_node import Node, Script

AREA: Final = "redis"
_OLDEST: Final = 7
_PINGS: Final = 5
# A replica reports once a second and its master looks once a second: this much after the lag that
# min-replicas-max-lag allows, a master that was cut off refuses writes.
_LAG_SLACK_SECONDS: Final = 2
_HEADS: Final = Script(scripts.HEADS)

# What a server or the connection says -> what to do.
_ADVICE: Final = (
    ("NOAUTH", "the server wants a password: put it into the URL, or stores.redis.password"),
    ("Authentication required", "the server wants a password: put it into stores.redis"),
    ("WRONGPASS", "mend user or password in stores.redis"),
    ("invalid username-password", "mend user or password in stores.redis"),
    ("onnect call failed", "start Redis, or mend host and port in stores.redis"),
    ("onnection refused", "start Redis, or mend host and port in stores.redis"),
    ("Name or service not known", "the host name in stores.redis is not known here"),
    (
        "no server is known",
        "mend stores.redis.nodes (and .service, for sentinels), or start what is there",
    ),
    ("cluster is down", "CLUSTER INFO says why; a Cluster that has just started needs a moment"),
    ("oading", "it is still reading its files: wait"),
)


async def look(settings: Redis | None) -> list[Finding]:
    """All checks of all servers; none after the first of a server that does not answer."""
    if settings is None:
        return [
            warning(
                AREA,
                "there is none: each sidecar polls PostgreSQL, changes are noticed within "
                "cache.heartbeat_seconds, and `applied` is never acknowledged",
                "for more than one sidecar set stores.redis.url",
            )
        ]
    try:
        client = open_client(settings)
    except ValueError:
        # Its message would quote the URL, password and all.
        return [problem(AREA, "stores.redis.url cannot be read", "see docs/configuration.md")]
    try:
        return await _look(client, settings)
    finally:
        await client.aclose()


async def _look(client: RedisClient, settings: Redis) -> list[Finding]:
    try:
        await bounded(client.node(0), settings.connect_seconds * 2)
    except (RedisError, OSError, TimeoutError) as error:
        return [_unreachable(settings.topology, error)]
    nodes = client.nodes()
    found = [
        each
        for node, shards in nodes.items()
        for each in await _server(client, node, min(shards, default=0), settings)
    ]
    covered = sum(len(shards) for shards in nodes.values())
    if settings.topology != "standalone":
        text = f"{settings.topology}: {len(nodes)} master(s) are named for {covered} of 16 shards"
        advice = "the others have no master now: see CLUSTER SLOTS"
        found.insert(0, fine(AREA, text) if covered == 16 else problem(AREA, text, advice))
    return found


async def _server(client: RedisClient, node: Node, shard: int, settings: Redis) -> list[Finding]:
    name = node.name or _place(settings.url)
    try:
        first = await bounded(_reach(node, name, settings), CHECK_SECONDS)
        told: dict[str, Any] = await bounded(node.client.info(), settings.command_seconds * 4)
    except ResponseError as error:
        advice = "let its user run INFO (ACL: +info): every script asks it which server it is"
        return [problem(AREA, f"{name}: INFO fails: {_words(error)}", advice)]
    except (RedisError, OSError, TimeoutError) as error:
        return [_unreachable(name, error)]
    keys = Keyspace(settings.prefix)
    return first + await examine_each(
        AREA,
        (
            ("the version", partial(_version, name, told)),
            ("the role", partial(_role, name, told)),
            ("writing", partial(_writes, node, name, keys, shard)),
            ("the scripts", partial(_scripts, node, name, keys, shard)),
            ("the news", partial(_news, client, node, keys.channels[shard])),
            ("eviction", partial(_eviction, name, told)),
            ("replication", partial(_replication, node, name, told, settings)),
        ),
    )


async def _reach(node: Node, name: str, settings: Redis) -> list[Finding]:
    took = []
    for _ in range(_PINGS + 1):
        begun = stopwatch()
        await node.client.ping()
        took.append(stopwatch() - begun)
    # The first one connects.
    seconds = median(took[1:])
    text = f"{name} answers in {seconds * 1000:.1f} ms"
    limit = settings.command_seconds
    if seconds > limit:
        text += f", more than stores.redis.command_seconds ({limit * 1000:g} ms): each call fails"
        return [problem(AREA, text, "bring Redis nearer, or raise command_seconds")]
    if seconds > limit / 5:
        text += ": PostgreSQL may be quicker"
        return [warning(AREA, text, "bring Redis nearer; a few milliseconds are usual")]
    return [fine(AREA, text)]


async def _version(name: str, told: dict[str, Any]) -> list[Finding]:
    version = str(told.get("redis_version", "0"))
    product = f"Valkey {told['valkey_version']}" if "valkey_version" in told else f"Redis {version}"
    if int(version.partition(".")[0]) < _OLDEST:
        return [problem(AREA, f"{name} is {product}: too old", "update it to 7.0 or newer")]
    return [fine(AREA, f"{name} is {product}")]


async def _role(name: str, told: dict[str, Any]) -> list[Finding]:
    if told.get("role") == "slave":
        text = f"{name} is a replica: it takes no heartbeats, so memory is never used"
        return [problem(AREA, text, "let stores.redis name the master, or use topology: sentinel")]
    return [fine(AREA, f"{name} is a master")]


async def _writes(node: Node, name: str, keys: Keyspace, shard: int) -> list[Finding]:
    try:
        await node.client.set(keys.head(shard) + ":doctor", secrets.token_hex(4), px=1000)
    except RedisError as error:
        prefix = keys.head(shard).partition(":")[0]
        advice = (
            f"let its user write keys (ACL: ~{prefix}:* +@all), and look for a disk that is full "
            "(MISCONF) or replicas that are away (NOREPLICAS)"
        )
        return [problem(AREA, f"{name} refuses to write: {_words(error)}", _advice(error, advice))]
    return [fine(AREA, f"{name} takes writes")]


async def _scripts(node: Node, name: str, keys: Keyspace, shard: int) -> list[Finding]:
    try:
        [known] = await node.run(_HEADS, ([keys.head(shard), keys.members(shard)], []))
    except RedisError as error:
        advice = "let its user run scripts, and INFO in them (ACL: +eval +evalsha +script +info)"
        text = f"{name} refuses our scripts: {_words(error)}"
        return [problem(AREA, text, _advice(error, advice))]
    # After a start, a flush or a failover a running sidecar tells it, within a second.
    state = "vouches for its content" if known else "knows nothing yet: a running sidecar tells it"
    return [fine(AREA, f"{name} runs our scripts and {state}")]


async def _news(client: RedisClient, node: Node, channel: str) -> list[Finding]:
    """Publishes what no sidecar takes for news, and waits for it."""
    mark = f"doctor-{secrets.token_hex(8)}".encode()
    listen, tell = ("SSUBSCRIBE", "SPUBLISH") if client.sharded else ("SUBSCRIBE", "PUBLISH")
    connection = node.connection()
    try:
        await connection.connect()  # type: ignore[no-untyped-call]  # redis-py gives no types here
        await connection.send_command(listen, channel)
        await connection.read_response(timeout=math.inf)
        await node.client.execute_command(tell, channel, mark)  # type: ignore[no-untyped-call]  # redis-py gives no types here
        while True:
            heard: Any = await connection.read_response(timeout=math.inf)
            if isinstance(heard, list) and heard[-1] == mark:
                return [fine(AREA, f"news arrive ({tell} and {listen} work)")]
    except RedisError as error:
        advice = f"let its user use the channels (ACL: &{channel.partition(':')[0]}:* +@pubsub)"
        return [problem(AREA, f"news do not arrive: {_words(error)}", _advice(error, advice))]
    finally:
        await connection.disconnect(nowait=True)


async def _eviction(name: str, told: dict[str, Any]) -> list[Finding]:
    policy = str(told.get("maxmemory_policy", ""))
    if not policy:
        return [warning(AREA, f"{name} does not say what it evicts", "it must not be allkeys-*")]
    limit = int(told.get("maxmemory", 0))
    if policy.startswith("allkeys"):
        text = (
            f"{name} evicts any key when it is full ({policy}): without their heads and members "
            "sidecars go to PostgreSQL until a new epoch begins"
        )
        return [warning(AREA, text, "set maxmemory-policy volatile-lru: values have expiries")]
    if policy == "noeviction" and limit:
        text = f"{name} refuses writes when it is full (noeviction)"
        used = int(told.get("used_memory", 0)) / limit
        if used > 0.9:
            advice = "raise maxmemory, or set maxmemory-policy volatile-lru"
            return [warning(AREA, f"{text}, and {used:.0%} are in use", advice)]
        return [fine(AREA, f"{text}; {used:.0%} are in use")]
    return [fine(AREA, f"{name} evicts no head ({policy})")]


async def _replication(
    node: Node, name: str, told: dict[str, Any], settings: Redis
) -> list[Finding]:
    replicas = int(told.get("connected_slaves", 0))
    if not replicas:
        return [fine(AREA, f"{name} has no replica: a failover cannot lose what it acknowledged")]
    if "min_slaves_good_slaves" not in told:
        text = (
            f"{name} has {replicas} replica(s) without min-replicas-to-write: a failover may lose "
            "a revocation, so `applied` is never acknowledged"
        )
        return [problem(AREA, text, "set min-replicas-to-write 1 and min-replicas-max-lag 2")]
    try:
        answer: Any = await node.client.config_get("min-replicas-max-lag")
        lag = int(answer["min-replicas-max-lag"])
    except (RedisError, KeyError, ValueError, TypeError):
        return [
            warning(
                AREA,
                f"{name} does not say its min-replicas-max-lag (CONFIG is not allowed)",
                "it must be at most stores.redis.isolation_seconds - 2",
            )
        ]
    if lag == 0 or lag + _LAG_SLACK_SECONDS > settings.isolation_seconds:
        text = (
            f"{name}: a master that was cut off may accept writes for {lag + _LAG_SLACK_SECONDS} s "
            f"(min-replicas-max-lag {lag}), longer than stores.redis.isolation_seconds "
            f"({settings.isolation_seconds:g}): `applied` could be acknowledged too early"
        )
        if lag == 0:
            text = f"{name}: min-replicas-max-lag 0 turns min-replicas-to-write off"
        return [problem(AREA, text, "set min-replicas-max-lag 2, or raise isolation_seconds")]
    return [fine(AREA, f"{name} has {replicas} replica(s) and stops writing without them")]


def _unreachable(name: str, error: BaseException) -> Finding:
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        advice = "a firewall drops packets, or the host is down: mend it, or stores.redis"
        return problem(AREA, f"cannot reach {name}: no answer in time", advice)
    return problem(AREA, f"cannot reach {name}: {_words(error)}", _advice(error, ""))


def _advice(error: BaseException, otherwise: str) -> str:
    text = str(error)
    return next((advice for part, advice in _ADVICE if part in text), otherwise)


def _words(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0].rstrip(". ") or type(error).__name__


def _place(url: str) -> str:
    """Where it is, without user and password."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else parts.path

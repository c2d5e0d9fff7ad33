"""The master that sentinels agree on.

All sentinels are asked at once. Each answer carries the number of the failover that it comes from
(``config-epoch``), and the highest among most of them is right: a failover needs most of them, and
a sentinel that was cut off knows a lower one.
See https://valkey.io/topics/sentinel-clients/.
"""

from typing import Any, Final

import redis.exceptions

from sidecar.model.shard import SHARDS
from sidecar.settings.address import TcpAddress
from sidecar.settings.check_redis import parse_node
from sidecar.settings.schema import Redis
from sidecar.sync.redis_discovery import Places, most_answers
from sidecar.sync.redis_node import Line, make_connection


class SentinelFinder:
    """Asks the sentinels of `settings`; see `redis_discovery.Finder`."""

    sharded: Final = False
    # An old master that was cut off together with us gives no sign; this bounds how long it is
    # followed where some sentinel is still reached. A small question on an open connection.
    every_seconds: Final = 2.0

    def __init__(self, settings: Redis) -> None:
        self._service = settings.service or ""
        self._lines = [
            Line(
                make_connection(
                    settings,
                    parse_node(node),
                    "sidecar-sentinel",
                    username=None,
                    password=settings.sentinel_password,
                    db=0,
                ),
                settings.connect_seconds,
            )
            for node in settings.nodes
        ]

    async def find(self) -> Places:
        """The master, for all shards; see `redis_discovery.Finder`."""
        answers = await most_answers([self._ask(line) for line in self._lines])
        if not answers:
            raise redis.exceptions.ConnectionError(
                f"no sentinel answers, or none knows a master {self._service}"
            )
        _, master = max(answers, key=lambda answer: answer[0])
        return (master,) * SHARDS

    async def aclose(self) -> None:
        """Ends the connections to the sentinels."""
        for line in self._lines:
            await line.close()

    async def _ask(self, line: Line) -> tuple[int, TcpAddress]:
        """The failover's number and the master, as one sentinel knows them.

        The first question names the promoted replica as soon as it is one; the second does so only
        when the failover has ended, which waits for replicas that do not answer.
        """
        address, state = await line.ask(
            ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service),
            ("SENTINEL", "MASTER", self._service),
        )
        return read_master(address, state)


def read_master(address: Any, state: Any) -> tuple[int, TcpAddress]:
    """What a sentinel answered, as values.

    Raises:
        RedisError: it is no such answer.
    """
    try:
        host, port = address
        fields = dict(zip(state[::2], state[1::2], strict=True))
        return int(fields[b"config-epoch"]), TcpAddress(host.decode(), int(port))
    except (TypeError, ValueError, KeyError, AttributeError):
        raise redis.exceptions.InvalidResponse("a sentinel knows no master") from None

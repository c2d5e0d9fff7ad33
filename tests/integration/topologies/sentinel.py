"""A master with two replicas, and a sentinel that chooses another master when it is away."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from sidecar.settings.schema import Redis
from tests.integration.topologies.cluster import has_synced, until
from tests.servers import RedisNode

PASSWORD: Final = "sentinel-tests"
SENTINEL_PASSWORD: Final = "sentinels-own"
SERVICE: Final = "sessions"
_LINES: Final = (
    f"masterauth {PASSWORD}",
    "repl-diskless-sync-delay 0",
    # A replica that says nothing for longer than this does not count.
    "repl-ping-replica-period 1",
    "min-replicas-max-lag 2",
    "appendonly no",
    'save ""',
)


class Watched:
    """Its servers, running: what was acknowledged is on a replica."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.nodes = [RedisNode(folder / f"node{n}", PASSWORD) for n in range(3)]
        master, *replicas = self.nodes
        master.start(*_LINES)
        for replica in replicas:
            replica.start(*_LINES, f"replicaof 127.0.0.1 {master.port}")
        self.sentinel = RedisNode(folder / "sentinel", SENTINEL_PASSWORD)
        for node in (*self.nodes, self.sentinel):
            stack.callback(node.stop)
        for node in self.nodes:
            node.wait()
        # Before the sentinel begins: it asks for replicas at once, and then each ten seconds.
        # A replica counts as online, and as good, for up to a second before it has any content.
        until(lambda: all(has_synced(replica) for replica in replicas))
        for node in self.nodes:
            node.ask("CONFIG", "SET", "min-replicas-to-write", 1)
        self.sentinel.start(
            f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} 1",
            f"sentinel auth-pass {SERVICE} {PASSWORD}",
            # Sentinels ping each second; with less they take healthy masters for dead.
            f"sentinel down-after-milliseconds {SERVICE} 1500",
            f"sentinel failover-timeout {SERVICE} 3000",
            arguments=["--sentinel"],
        )
        self.sentinel.wait()
        until(lambda: len(self.sentinel.ask("SENTINEL", "REPLICAS", SERVICE)) == 2)
        until(lambda: "'min_slaves_good_slaves': 2" in str(master.ask("INFO", "replication")))

    @property
    def master(self) -> RedisNode:
        """The one that the sentinel names."""
        _, port = self.sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(node for node in self.nodes if node.port == int(port))

    def settings(self, prefix: str) -> Redis:
        """For a sidecar; a sentinel that does not exist is named first."""
        return Redis(
            topology="sentinel",
            nodes=("127.0.0.1:1", self.sentinel.address),
            service=SERVICE,
            password=PASSWORD,
            sentinel_password=SENTINEL_PASSWORD,
            prefix=prefix,
        )


@contextmanager
def watched_running() -> Iterator[Watched]:
    """Servers that end with the block."""
    with (
        tempfile.TemporaryDirectory(prefix="sidecar-sentinel-", ignore_cleanup_errors=True) as name,
        ExitStack() as stack,
    ):
        Path(name).chmod(0o711)
        yield Watched(Path(name), stack)

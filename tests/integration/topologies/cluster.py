"""A real Cluster: three masters, and a replica of the last of them."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import redis

from sidecar.embedded.spawn import free_port
from sidecar.model.shard import SHARDS
from sidecar.settings.schema import Redis
from sidecar.sync.keyspace import Keyspace
from tests.servers import RedisNode

PASSWORD: Final = "cluster-tests"
_MASTERS: Final = 3
_SLOTS: Final = 16_384
_START_SECONDS: Final = 30.0
_LINES: Final = (
    f"masterauth {PASSWORD}",
    "cluster-enabled yes",
    "cluster-config-file nodes.conf",
    "cluster-node-timeout 1000",
    # A node that is away costs its slots only.
    "cluster-require-full-coverage no",
    "cluster-allow-replica-migration no",
    # Who takes over, and when, is for the tests to say.
    "cluster-replica-no-failover yes",
    "repl-diskless-sync-delay 0",
    "appendonly no",
    'save ""',
)


def until(condition: Callable[[], bool], seconds: float = _START_SECONDS) -> None:
    """Wait for servers; no longer than `seconds`."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        with suppress(redis.RedisError):
            if condition():
                return
        pause.wait(0.02)
    raise AssertionError("the servers did not come so far")


def has_synced(replica: RedisNode) -> bool:
    """Whether it has all that its master had when it came."""
    return "'master_link_status': 'up'" in str(replica.ask("INFO", "replication"))


class Cluster:
    """Its nodes, running."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.nodes = [RedisNode(folder / f"node{n}", PASSWORD) for n in range(_MASTERS + 1)]
        self._buses = [free_port() for _ in self.nodes]
        for node, bus in zip(self.nodes, self._buses, strict=True):
            node.start(*_LINES, f"cluster-port {bus}")
            stack.callback(node.stop)
        for node in self.nodes:
            node.wait()
        self._meet()

    def _meet(self) -> None:
        first = self.nodes[0]
        for number, node in enumerate(self.nodes[:_MASTERS]):
            start, end = _SLOTS * number // _MASTERS, _SLOTS * (number + 1) // _MASTERS - 1
            node.ask("CLUSTER", "ADDSLOTSRANGE", start, end)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node, bus in zip(self.nodes[1:], self._buses[1:], strict=True):
            first.ask("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        known = f"cluster_known_nodes:{len(self.nodes)}\r"
        until(lambda: all(known in str(node.ask("CLUSTER", "INFO")) for node in self.nodes))
        master = self.nodes[_MASTERS - 1]
        self.nodes[-1].ask("CLUSTER", "REPLICATE", master.ask("CLUSTER", "MYID"))
        until(lambda: has_synced(self.nodes[-1]))
        self.agree()

    def agree(self) -> None:
        """Until all nodes are well and name the same masters for our shards."""

        def is_so() -> bool:
            views = [self.owners(node) for node in self.nodes]
            well = ("cluster_state:ok" in str(node.ask("CLUSTER", "INFO")) for node in self.nodes)
            return all(view == views[0] for view in views) and None not in views[0] and all(well)

        until(is_so)

    def owners(self, seen_by: RedisNode | None = None) -> list[RedisNode | None]:
        """The master of each shard, as one node sees it."""
        by_port = {node.port: node for node in self.nodes}
        owners: list[RedisNode | None] = [None] * SHARDS
        for entry in (seen_by or self.nodes[0]).ask("CLUSTER", "SLOTS"):
            first, last, (_, port, *_), *_ = entry
            for shard in range(SHARDS):
                if first <= slot_of(shard) <= last:
                    owners[shard] = by_port[port]
        return owners

    def settings(self, prefix: str) -> Redis:
        """For a sidecar; a seed that does not exist is among the nodes."""
        nodes = ("127.0.0.1:1", *(node.address for node in self.nodes))
        return Redis(topology="cluster", nodes=nodes, password=PASSWORD, prefix=prefix)


def slot_of(shard: int) -> int:
    """The slot of a shard's keys, whatever the prefix is."""
    return redis.crc.key_slot(Keyspace("x").head(shard).encode())


@contextmanager
def cluster_running() -> Iterator[Cluster]:
    """A Cluster that ends with the block."""
    with (
        tempfile.TemporaryDirectory(prefix="sidecar-cluster-", ignore_cleanup_errors=True) as name,
        ExitStack() as stack,
    ):
        Path(name).chmod(0o711)
        yield Cluster(Path(name), stack)

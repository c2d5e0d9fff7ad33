"""What is exported of the parts (`endpoints.metrics.Metrics`)."""

from collections.abc import Callable, Mapping

import msgspec

from sidecar.assembly.deciding import Deciding
from sidecar.assembly.listening import TrafficListener
from sidecar.audit.sink import AuditSink
from sidecar.cache.regions import RegionStatistics
from sidecar.clock import instant
from sidecar.endpoints.admin_api import AdminApi
from sidecar.forward.pool import UpstreamPool
from sidecar.listen.server import SidecarServer
from sidecar.telemetry import names


def regions(deciding: Deciding) -> dict[str, RegionStatistics]:
    """The counts of memory's regions, by name."""
    return msgspec.structs.asdict(deciding.memory.statistics())


def breakers(pools: Mapping[str, UpstreamPool]) -> dict[str, float]:
    """The state of each upstream's breaker, where it has one."""
    return {
        name: float(pool.fuse.state(pool.now()))
        for name, pool in pools.items()
        if pool.fuse is not None
    }


def counters(
    deciding: Deciding, listener: TrafficListener, api: AdminApi | None
) -> list[tuple[names.Metric, Mapping[str, int]]]:
    """What clients, stores and operators did."""
    ahead = deciding.anticipation
    return [
        (names.CLIENT_FAILED, listener.opening.failed),
        (names.RESYNCS, deciding.follower.resyncs),
        (names.READS, deciding.tiers.counts),
        (names.READS_AHEAD, ahead.counts if ahead else {}),
        (names.ADMIN_CALLS, {} if api is None else api.outcomes),
    ]


def gauges(
    server: SidecarServer, deciding: Deciding, audit: AuditSink | None
) -> list[tuple[names.Metric, Callable[[], float]]]:
    """How things stand."""
    memory, warmer = deciding.memory, deciding.warmer
    return [
        (names.CLIENT_CONNECTIONS, lambda: float(server.open_connections)),
        (names.BUFFERED_BYTES, lambda: float(server.budget.used_bytes)),
        (names.BUFFERED_BYTES_BOUND, lambda: float(server.budget.most_bytes)),
        (names.LEASE_VALID, lambda: float(instant() < memory.lease_until)),
        (names.SHARDS_LEASED, lambda: float(memory.leased_shards(instant()))),
        (names.SHARDS_SUSPECT, lambda: float(deciding.watch.suspect)),
        (names.NEWS_GAP, lambda: float(deciding.watch.gap(deciding.follower.watermark))),
        (names.CHANGES_APPLIED, lambda: float(deciding.follower.applied)),
        (names.FACTS_WARMED, lambda: float(warmer.warmed if warmer else 0)),
        (names.FACTS_WANTED, lambda: float(warmer.wanted if warmer else 0)),
        (names.WARMING_SECONDS, lambda: warmer.seconds if warmer else 0.0),
        (names.FACTS_CHECKED, lambda: float(deciding.auditor.checked)),
        (names.FACTS_STALE, lambda: float(deciding.auditor.stale)),
        (names.AUDIT_DROPPED, lambda: 0.0 if audit is None else float(audit.dropped)),
    ]

"""What traces cost: a request with none, with none sampled and with one of a hundred; and a span.

The three relays of `perf.micro.relay` serve the same requests in turns, forwards and backwards, in
one process; what counts is the median of the differences. Spans go to a collector that swallows
them, in a process of its own; all that they cost this one is counted, also in the exporter's
thread.

Run: python -m perf.micro.traces [--rounds N] [--spans N]
"""

import gc
import time
from statistics import median
from typing import Final

import click
import uvloop

from perf.micro.relay import Relay
from perf.rounds import upstream
from perf.workload import PATH, TOKENS
from sidecar.audit.record import Record
from sidecar.settings.schema import Tracing
from sidecar.telemetry.export import Exporter
from sidecar.telemetry.request_spans import Course, Target, request_spans

RATIOS: Final = (None, 0.0, 0.01)
_RECORD: Final = Record(
    time=0.0, request_id="0" * 24, outcome="permit", reason="granted", status=200, method="GET",
    path=PATH, host="app.example", client="127.0.0.1", milliseconds=1.0, route=f"GET {PATH}",
    tenant="acme", subject="user-1", via=("role-01", "reader"),
)  # fmt: skip
_COURSE: Final = Course(
    traceparent=b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03", parent_id=0,
    scheme="http", authority="app.example", minor=1, template=PATH, begun=1.0, ended=1.004,
    ended_ns=1_795_000_000_000_000_000, asked=1.001, sent=1.002, answered=1.003,
    target=Target("app", "127.0.0.1", 9000, "http://127.0.0.1:9000"), shows_principal=True,
)  # fmt: skip


async def _requests(rounds: int) -> list[list[float]]:
    """µs for a request, by ratio and round."""
    relays = [Relay(ratio) for ratio in RATIOS]
    for relay in relays:
        for _ in range(3):
            relay.check()
    gc.collect()
    gc.freeze()
    gc.disable()
    found: list[list[float]] = [[] for _ in relays]
    for turn in range(rounds):
        order = range(len(relays)) if turn % 2 else reversed(range(len(relays)))
        for place in order:
            relays[place].audit._waiting.clear()  # noqa: SLF001  # writing them is a thread's business
            begun = time.process_time()
            relays[place].serve_all()
            found[place].append((time.process_time() - begun) / TOKENS * 1e6)
    gc.enable()
    for relay in relays:
        relay.close()
    return found


def _span(count: int) -> float:
    """µs for a span, from what is recorded of its request until it has left."""
    with upstream("perf.load.collector") as port:
        settings = Tracing(endpoint=f"http://127.0.0.1:{port}/v1/traces", queue=100_000)
        exporter = Exporter(settings, "0")
        begun = time.process_time()
        for number in range(count // 2):
            exporter.add(request_spans(_RECORD, _COURSE))
            if number % 32 == 0:
                # As they come when few of many requests are sampled.
                time.sleep(0.003)
        assert exporter.close(30.0), exporter.counts
        spent = time.process_time() - begun
        assert exporter.counts["exported"] == count, exporter.counts
    return spent / count * 1e6


@click.command()
@click.option("--rounds", default=61, show_default=True, type=click.IntRange(1))
@click.option("--spans", default=10_000, show_default=True, type=click.IntRange(2))
def main(rounds: int, spans: int) -> None:
    """Measure what traces cost."""
    without, *others = uvloop.run(_requests(rounds))
    print(f"µs per request without traces {median(without):.2f}")
    for ratio, found in zip(RATIOS[1:], others, strict=True):
        more = median(there - here for there, here in zip(found, without, strict=True))
        print(f"  with them, {ratio:.0%} sampled {more:+.2f}")
    print(f"µs per span, sent {_span(spans):.1f}")


if __name__ == "__main__":
    main()

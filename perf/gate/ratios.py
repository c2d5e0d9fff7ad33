"""Sidecar's parts in one process, each in turns with a reference in plain Python.

Run: ``python -m perf.gate.ratios relay|decision|messages``; prints what the part takes by what the
reference takes. Both are CPU time of the same thread, a few milliseconds apart: who else uses the
machine slows down both.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import uvloop

from perf.micro import decide as decision
from perf.micro import messages
from perf.micro.relay import Relay, reference
from sidecar.authorize.permit import Permit
from sidecar.decide import decide
from tests.cases.messages.world import gate_of

# One turn takes 5 to 10 ms of either.
_ROUNDS: Final = 120
_REFERENCES: Final = 200
# Of the rounds, the ratio that a quarter stays below: what disturbs only ever adds.
_QUARTER: Final = 4

Turn = Callable[[], None]


@contextmanager
def relay() -> Iterator[Turn]:
    """200 requests through the whole relay without sockets."""
    one = Relay()
    try:
        for _ in range(3):
            one.check()
        place = 0

        def turn() -> None:
            nonlocal place
            one.audit._waiting.clear()  # noqa: SLF001  # writing them is a thread's business
            for request in one.requests[place : place + 200]:
                one.serve(request)
            place = (place + 200) % len(one.requests)

        yield turn
    finally:
        one.close()


@contextmanager
def decisions() -> Iterator[Turn]:
    """1 000 decisions from memory: a token, 1 000 grants, 30 routes."""
    routes, grants = 30, 1_000
    snapshot, credentials = decision.snapshot_of(routes, grants)
    path = f"/api/v1/things{routes - 1}/{grants // 2 - 1}/parts/1"
    head = decision.head_of(path, decision.with_token(snapshot, credentials))

    def one() -> object:
        return decide(head, decision.WALL, decision.INSTANT, snapshot)

    # What takes long the first time is done in steps, before.
    while not isinstance(outcome := one(), Permit):
        work = getattr(outcome, "work", None)
        assert work is not None, outcome
        while not work.advance():
            pass
        decide(head, decision.WALL, decision.INSTANT, snapshot, done=work)

    def turn() -> None:
        for _ in range(1_000):
            one()

    yield turn


@contextmanager
def judged() -> Iterator[Turn]:
    """500 JSON-RPC messages on a WebSocket with 100 rules."""
    rule, protocol, payloads = messages.messages()["json-rpc"]
    judge = messages.judging(
        gate_of(messages.settings(protocol, rule, 100), ["allow orders:*"]), payloads
    )

    def turn() -> None:
        for _ in range(500):
            judge()

    yield turn


PARTS: Final = {"relay": relay, "decision": decisions, "messages": judged}


def measured(turn: Turn, rounds: int = _ROUNDS) -> float:
    """What one turn takes by what the reference takes."""
    counts: dict[tuple[bytes, int], int] = {}
    clock, ratios = time.process_time_ns, []
    for _ in range(rounds):
        begun = clock()
        turn()
        between = clock()
        for _ in range(_REFERENCES):
            reference(counts)
        ratios.append((between - begun) / (clock() - between))
    return statistics.quantiles(ratios, n=_QUARTER)[0]


async def _main(part: str) -> None:
    with PARTS[part]() as turn:
        gc.collect()
        gc.freeze()
        print(f"{measured(turn):.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=list(PARTS))
    uvloop.run(_main(parser.parse_args().part))

"""Routes, grants and connections: the same small request at each size."""

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from perf.growth.grown import Growth, gathered
from perf.growth.plane import ROUTES, Plane, add_user
from perf.peers import nginx
from perf.peers.peer import AbsentError, Peer, Site
from perf.rounds import CONNECTIONS, figure, generated, patiently
from perf.workload import PATH, PERMISSION, Workload, request

NUMBERS_OF_ROUTES = (1, 30, 1_000)
NUMBERS_OF_GRANTS = (10, 1_000, 100_000)
NUMBERS_OF_CONNECTIONS = (1, 64, 1_000, 5_000)
# No more grants than these are asked about, evenly spread over all.
_ASKED = 10
_MANY_ASKED = 1_000


@dataclass(frozen=True, slots=True)
class Run:
    """How long, and what is told meanwhile."""

    workload: Workload
    rounds: int
    seconds: float
    tell: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One size: who is asked, what, over how many connections."""

    peer: Peer
    requests: Path | None = None
    connections: int = CONNECTIONS


def routes(plane: Plane, run: Run) -> list[Growth]:
    """One sidecar for each number of routes; the last route is the one that is asked."""
    with ExitStack() as stack:
        cases = {}
        for number in NUMBERS_OF_ROUTES:
            # The others look alike until late.
            others = [
                {
                    "path": f"/api/orders{other}/{{order_id}}/lines/{{line}}",
                    "methods": ["GET"],
                    "permission": PERMISSION,
                    "resource": "orders/{order_id}",
                }
                for other in range(number - 1)
            ]
            peer = stack.enter_context(plane.sidecar(f"routes-{number}", [*others, ROUTES[0]]))
            cases["sidecar", number] = Case(peer)
        return [Growth("Routes", "routes", "CPU µs/request", measured(cases, run))]


def grants(plane: Plane, run: Run) -> list[Growth]:
    """Users who hold single resources; ten of them are asked about, and a thousand."""
    route = {
        "path": PATH + "/{order_id}",
        "methods": ["GET"],
        "permission": PERMISSION,
        "resource": "orders/{order_id}",
    }
    cases = {}
    with plane.sidecar("grants", [route]) as peer:
        for place, number in enumerate(NUMBERS_OF_GRANTS):
            held = [f"orders/{order}" for order in range(number)]
            token = add_user(plane.stores.database_url, f"holder-{number}", place, held)
            for line, asked in (("10 asked", _ASKED), ("1 000 asked", _MANY_ASKED)):
                if asked > number:
                    continue
                orders = [number // asked * each for each in range(asked)]
                path = plane.folder / f"grants-{number}-{asked}.json"
                path.write_text(json.dumps([_asking(token, order) for order in orders]))
                cases[line, number] = Case(peer, path)
        return [Growth("Grants", "grants of one user", "CPU µs/request", measured(cases, run))]


def connections(plane: Plane, run: Run) -> list[Growth]:
    """All take turns, 64 at a time; nginx beside it."""
    cases = {}
    with ExitStack() as stack:
        limits = {"limits": {"connections": 20_000}}
        peers = {"sidecar": stack.enter_context(plane.sidecar("connections", listen=limits))}
        try:
            site = Site(plane.folder, plane.upstream, run.workload)
            peers["nginx"] = stack.enter_context(nginx.started(site))
        except AbsentError as absent:
            run.tell(f"nginx is left out: {absent}")
        for name, peer in peers.items():
            for number in NUMBERS_OF_CONNECTIONS:
                cases[name, number] = Case(peer, connections=number)
        lines = measured(cases, run)
    # One alone waits for each answer: whoever serves it is woken for each request.
    return [Growth("Connections", "open connections", "CPU µs/request", lines, base=CONNECTIONS)]


def measured(cases: Mapping[tuple[str, int], Case], run: Run) -> dict[str, dict[int, list[float]]]:
    """CPU µs for a request, in rounds whose order turns."""
    rounds = []
    order = list(cases)
    for number in range(run.rounds):
        turn = number % len(order)
        found = {}
        for key in order[turn:] + order[:turn]:
            case = cases[key]
            measure = partial(
                generated,
                case.peer,
                run.workload,
                run.seconds,
                requests=case.requests,
                connections=case.connections,
            )
            taken = figure(case.peer, number, patiently(key[0], measure, run.tell))
            found[key] = taken.cpu_us
            run.tell(
                f"round {number + 1}/{run.rounds}  {key[0]:12} {key[1]:8}"
                f" {taken.cpu_us:7.1f} µs CPU/request {taken.rate:7.0f}/s"
            )
        rounds.append({key: found[key] for key in order})
    return gathered(rounds)


def _asking(token: str, order: int) -> str:
    return request(token).decode().replace(f"GET {PATH} ", f"GET {PATH}/{order} ", 1)

"""What relaying costs in Python: whole requests and answers in one process, without sockets.

One client connection and one upstream connection whose transports only count; 1 000 different
tokens of about 700 bytes, the fields and the answer of `perf.workload`; permissions are decided
from memory, metrics counted, the access record made. A reference in plain Python that uses nothing
of ours is measured in turns with it: the ratio of both is what can be compared between machines,
and between busy and quiet moments of one.

Run: python -m perf.micro.relay [--profile] [--rounds N] [--traced RATIO]
To count instructions, run it under `valgrind --tool=callgrind` with `--count N` twice, with
different numbers, and divide the difference of both sums ("Collected") by that of the numbers.
"""

import asyncio
import gc
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from types import CodeType, FrameType
from typing import Any, Final, NoReturn

import click
import uvloop

from perf.micro.decide import SECRET
from perf.workload import AUDIENCE, BODY, ISSUER, PATH, PERMISSION, TENANT, TOKENS, subject
from perf.workload import request as request_with
from sidecar.audit.sink import AuditSink
from sidecar.audit.traces import Traces
from sidecar.authenticate.credential import CredentialRules
from sidecar.authorize.authorizer import Authorizer
from sidecar.authorize.principal import IdentityFields
from sidecar.cache.memory import Memory
from sidecar.clock import Sweeper, instant, wall
from sidecar.decide import Snapshot
from sidecar.forward.answers import Answers
from sidecar.forward.connection import UpstreamConnection
from sidecar.forward.forwarder import Forwarder
from sidecar.forward.identifiers import Identifiers
from sidecar.forward.pool import UpstreamPool
from sidecar.forward.request_fields import RequestFields
from sidecar.forward.response_fields import ResponseFields
from sidecar.listen.server import SidecarServer
from sidecar.listen.trust import TrustedPeers
from sidecar.model.facts import Effect, Role, RoleGrant, RoleGraph, Rule, User, VerifiedToken
from sidecar.model.need import Found, Need, RolesNeed, UserNeed
from sidecar.pipeline import Loaded, Pipeline
from sidecar.route.rules import compile_routes
from sidecar.settings.schema import (
    Cache,
    Credentials,
    Forwarded,
    Identity,
    Issuer,
    Jwks,
    Listen,
    RouteRule,
    Tracing,
    Upstream,
)
from sidecar.telemetry.meters import Meters
from sidecar.telemetry.propagation import Propagation
from sidecar.telemetry.request_spans import Target
from sidecar.telemetry.sampling import Budget
from sidecar.telemetry.spans import Span

_ROUTES: Final = [
    RouteRule(path="/healthz", access="public"),
    RouteRule(path=PATH, methods=("GET",), permission=PERMISSION),
    RouteRule(path=PATH + "/{order_id}", permission=PERMISSION, resource="orders/{order_id}"),
]
_ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
) + BODY
# A JSON Web Token signed with RSA 2048, as far as its size goes; its middle tells who it is.
_TOKEN: Final = "{head:e<200}.{claims:p<158}.{signature:s<342}"  # noqa: S105  # a pattern, of a benchmark


class _Wire(asyncio.Transport):
    """A transport that counts what is written; its socket is there to be looked at."""

    def __init__(self, sock: socket.socket | None = None) -> None:
        super().__init__()
        self._sock = sock
        self.writes = 0
        self.last = b""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peername":
            return "127.0.0.1", 40_000
        return self._sock if name == "socket" else default

    def is_closing(self) -> bool:
        return False

    def write(self, octets: Any) -> None:
        self.writes += 1
        self.last = octets

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


class _Nothing:
    """Loads nothing: all is in memory."""

    async def load(self, need: Need, now: float) -> Loaded:
        raise AssertionError(need, now)


async def _unreachable(_make: Callable[[], UpstreamConnection]) -> NoReturn:
    raise AssertionError("there is a connection already")


def _snapshot(tokens: Iterable[str]) -> Snapshot:
    credentials = Credentials(
        token_key=SECRET,
        issuers=(Issuer(issuer=ISSUER, audiences=(AUDIENCE,), jwks=Jwks(file="x"), tenant=TENANT),),
    )
    rules, memory, now = (
        CredentialRules(credentials),
        Memory(Cache(), jitter=lambda: 0.5),
        instant(),
    )
    memory.lease_all(float("inf"))

    def known(need: Need, fact: Found) -> None:
        memory.put(need, fact, now)

    reader = Role("reader", (), (Rule(Effect.ALLOW, PERMISSION),))
    clerk = Role("clerk", ("reader",), (Rule(Effect.ALLOW, "orders:create"),))
    known(RolesNeed(TENANT), RoleGraph(version=1, tenant=TENANT, roles=(reader, clerk)))
    for number, token in enumerate(tokens):
        name = subject(number)
        claims = VerifiedToken(
            issuer=ISSUER, key_id="k", tenant=TENANT, subject=name, expires_at=wall() + 86_400
        )
        known(rules.token_need(token.encode()), claims)
        user = User(version=1, tenant=TENANT, subject=name, roles=(RoleGrant("clerk"),))
        known(UserNeed(TENANT, name), user)
    return Snapshot(
        routes=compile_routes(_ROUTES, default_upstream="app"),
        credentials=rules,
        memory=memory,
        authorizer=Authorizer(Cache(), IdentityFields(Identity())),
        leeways={ISSUER: 5.0},
    )


class _Swallow:
    """Takes spans; turning them into the SDK's and encoding them is not measured here."""

    def add(self, kept: Sequence[Span], /) -> None:
        pass


def _tracing(ratio: float | None) -> tuple[Propagation, Traces | None]:
    if ratio is None:
        return Propagation("keep"), None
    budget, targets = (
        Budget(1_000_000),
        {"app": Target("app", "127.0.0.1", 1, "http://127.0.0.1:1")},
    )
    propagation = Propagation("keep", ratio, budget)
    return propagation, Traces(propagation, Tracing(), budget, _Swallow(), targets)


class Relay:
    """The whole relay between two connections that are there already. Needs a running loop.

    Args:
        ratio: of requests that are traced; None traces nothing, not even faults.
    """

    def __init__(self, ratio: float | None = None) -> None:
        tokens = [
            _TOKEN.format(head="", claims=f"{number:04}", signature="") for number in range(TOKENS)
        ]
        self.requests: Final = [request_with(token) for token in tokens]
        self.audit: Final = AuditSink(lambda _octets: None, 1.0)
        forwarded, sweeper = Forwarded(), Sweeper()
        pool = UpstreamPool("app", Upstream(url="http://127.0.0.1:1"), _unreachable, sweeper)
        propagation, traces = _tracing(ratio)
        pipeline = Pipeline(
            snapshot=_snapshot(tokens),
            loader=_Nothing(),
            load_seconds=1.0,
            meters=Meters(),
            audit=self.audit,
            audit_permits=True,
            propagation=propagation,
            traces=traces,
        )
        forwarder = Forwarder(
            request_fields=RequestFields(Identity(), forwarded, "sidecar_session"),
            response_fields=ResponseFields(forwarded.request_id, "sidecar_session"),
            answers=Answers(Credentials(token_key=SECRET), forwarded.request_id, ""),
            identifiers=Identifiers(forwarded),
            propagation=propagation,
            pools={"app": pool},
            hosts={},
            authorities={"app": b"127.0.0.1:1"},
            ended=pipeline.ended,
        )
        server = SidecarServer(
            settings=Listen(),
            forwarder=forwarder,
            trusted=TrustedPeers(()),
            begin=pipeline.begin,
            sweeper=sweeper,
        )
        self._ends: Final = socket.socketpair()
        self.client, self.application = _Wire(), _Wire(self._ends[0])
        self._downstream = server()
        self._downstream.connection_made(self.client)
        self._upstream = UpstreamConnection(pool)
        self._upstream.connection_made(self.application)
        # As if it had just been opened for an exchange that is over.
        pool._all.add(self._upstream)  # noqa: SLF001  # there is no other way to give it one
        pool.give_back(self._upstream)

    def serve(self, request: bytes) -> None:
        """One request and its answer."""
        self._downstream.data_received(request)
        self._upstream.data_received(_ANSWER)

    def serve_all(self) -> None:
        """Each request once."""
        serve = self.serve
        for request in self.requests:
            serve(request)

    def check(self) -> None:
        """Raises AssertionError where requests are not answered as they should be."""
        before = self.client.writes, self.application.writes
        self.serve_all()
        after = self.client.writes, self.application.writes
        assert after == (before[0] + TOKENS, before[1] + TOKENS), (before, after)
        assert self.client.last.startswith(b"HTTP/1.1 200 OK\r\n"), self.client.last
        assert self.client.last.endswith(BODY), self.client.last
        assert subject(TOKENS - 1).encode() in self.application.last, self.application.last
        assert b"authorization" not in self.application.last.lower(), "the credential went along"

    def close(self) -> None:
        for end in self._ends:
            end.close()


class _Thing:
    """Something with attributes, for the reference."""

    __slots__ = ("fields", "first", "name", "size", "values")

    def __init__(self, name: bytes, values: list[bytes]) -> None:
        self.name = name
        self.values = values
        self.fields: list[tuple[bytes, bytes]] = []
        self.first: dict[bytes, bytes] = {}
        self.size = 0

    def add(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        self.fields.append((lower, value))
        self.first[lower] = value
        self.size += len(value)

    def joined(self, left_out: frozenset[bytes]) -> bytes:
        parts = [self.name, b"\r\n"]
        for name, value in self.fields:
            if name in left_out:
                continue
            parts += (name, b": ", value, b"\r\n")
        return b"".join(parts)


_LINES: Final = tuple((b"Field-Name-%d" % n, b"value " * (n % 7 + 1)) for n in range(20))
_LEFT_OUT: Final = frozenset((b"field-name-3", b"field-name-11"))


def reference(counts: dict[tuple[bytes, int], int]) -> int:
    """About as much as a request costs, of what a relay in Python is made of. Never to be changed:
    whoever compares ratios counts on it.
    """
    size = 0
    for turn in range(5):
        thing = _Thing(b"thing %d" % turn, [])
        for name, value in _LINES:
            thing.add(name, value)
        octets = thing.joined(_LEFT_OUT)
        key = (thing.first[b"field-name-7"], turn)
        counts[key] = counts.get(key, 0) + 1
        size += octets.find(b"field-name-19")
    return size


def _measured(relay: Relay, rounds: int) -> tuple[float, float, float]:
    """Medians over rounds: µs for a request, µs for the reference, and of the ratio of both."""
    counts: dict[tuple[bytes, int], int] = {}
    requests, references, ratios = [], [], []
    clock = time.process_time
    for _ in range(rounds):
        relay.audit._waiting.clear()  # noqa: SLF001  # writing them is a thread's business
        begun = clock()
        relay.serve_all()
        between = clock()
        for _ in range(TOKENS):
            reference(counts)
        ended = clock()
        requests.append((between - begun) / TOKENS * 1e6)
        references.append((ended - between) / TOKENS * 1e6)
        ratios.append((between - begun) / (ended - between))
    return median(requests), median(references), median(ratios)


def _profiled(relay: Relay, requests: int = 100) -> None:
    """Prints how many bytecodes a request takes, by function."""
    counts: Counter[CodeType] = Counter()
    calls: Counter[CodeType] = Counter()

    def trace(frame: FrameType, event: str, _arg: object) -> Any:
        if event == "call":
            calls[frame.f_code] += 1
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            counts[frame.f_code] += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for request in relay.requests[:requests]:
            relay.serve(request)
    finally:
        sys.settrace(before)
    print(f"{'bytecodes':>10} {'calls':>6}  function")
    for code, count in counts.most_common():
        place = "/".join(code.co_filename.split("/")[-2:])
        print(
            f"{count / requests:10.1f} {calls[code] / requests:6.1f}  {code.co_qualname} ({place})"
        )
    print(f"{counts.total() / requests:10.1f} {calls.total() / requests:6.1f}  together")


async def _main(*, rounds: int, profile: bool, count: int, traced: float | None) -> None:
    relay = Relay(traced)
    try:
        # Thrice: compiled, vouched for, and used again.
        for _ in range(3):
            relay.check()
        gc.collect()
        gc.freeze()
        if profile:
            _profiled(relay)
        elif count:
            for number in range(count):
                relay.serve(relay.requests[number % TOKENS])
        else:
            request, plain, ratio = _measured(relay, rounds)
            print(
                f"µs per request {request:.2f}, of the reference {plain:.2f}, ratio {ratio:.3f}"
                f" (medians of {rounds} rounds of {TOKENS})"
            )
    finally:
        relay.close()


@click.command()
@click.option("--rounds", default=41, show_default=True, type=click.IntRange(1))
@click.option("--profile", is_flag=True, help="Bytecodes of a request, by function.")
@click.option("--count", default=0, type=click.IntRange(0), help="Serve so many, and say nothing.")
@click.option("--traced", type=click.FloatRange(0, 1), help="Trace, and sample so many of one.")
def main(rounds: int, profile: bool, count: int, traced: float | None) -> None:  # noqa: FBT001  # click
    """Measure the relay without sockets."""
    uvloop.run(_main(rounds=rounds, profile=profile, count=count, traced=traced))


if __name__ == "__main__":
    main()

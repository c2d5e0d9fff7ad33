"""The life of a request with stores that are slow, broken or full of surprises."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
import pytest

from sidecar import pipeline as pipeline_module
from sidecar.audit.record import Record
from sidecar.audit.sink import AuditSink
from sidecar.authenticate.credential import CredentialRules
from sidecar.authenticate.opaque import digest, mint, signing_key
from sidecar.authorize.authorizer import Authorizer
from sidecar.authorize.principal import IdentityFields
from sidecar.cache.memory import Memory
from sidecar.clock import instant, stopwatch
from sidecar.decide import MOST_ROUNDS, Snapshot
from sidecar.forward.exchange import Exchange
from sidecar.gate import Gate
from sidecar.model.decision import Denial, Missing
from sidecar.model.errors import StoresUnavailable
from sidecar.model.facts import (
    Effect,
    Role,
    RoleGrant,
    RoleGraph,
    Rule,
    RuleGrant,
    Session,
    User,
)
from sidecar.model.need import ABSENT, Found, Need, RolesNeed, SessionNeed, UserNeed
from sidecar.model.peer import Peer
from sidecar.model.reason import Reason
from sidecar.parse.request import RequestReader
from sidecar.pipeline import Pipeline
from sidecar.route.rules import compile_routes
from sidecar.settings.schema import Cache, Credentials, Identity, RouteRule
from sidecar.telemetry.meters import Meters

CREDENTIALS = Credentials(token_key="k" * 32)
TOKEN = mint(3, b"r" * 32, signing_key(CREDENTIALS.token_key))
FACTS: dict[Need, Found] = {
    SessionNeed(digest(TOKEN), 3): Session(
        version=1, id="s1", tenant="acme", subject="ann", expires_at=4e9
    ),
    UserNeed("acme", "ann"): User(
        version=1, tenant="acme", subject="ann", roles=(RoleGrant("clerk"),)
    ),
    RolesNeed("acme"): RoleGraph(
        version=1,
        tenant="acme",
        roles=(Role("clerk", (), (Rule(Effect.ALLOW, "orders:read"),)),),
    ),
}


class Loaded(NamedTuple):
    fact: Found | Denial
    tier: str


class Stores:
    """A loader over a dict, or whatever a test makes of it."""

    def __init__(self, load: Callable[[Need], Awaitable[Found | Denial]] | None = None) -> None:
        self.asked: list[Need] = []
        self._load = load

    async def load(self, need: Need, now: float) -> Loaded:  # noqa: ARG002 - the loader's signature
        self.asked.append(need)
        await asyncio.sleep(0)
        fact = await self._load(need) if self._load is not None else FACTS.get(need, ABSENT)
        return Loaded(fact, "postgres")


class Ended(Exchange):
    """An exchange whose end can be awaited; nothing is sent anywhere."""

    def __init__(self, *fields: str, start: str = "GET /orders HTTP/1.1") -> None:
        raw = "\r\n".join((start, "Host: h", *fields, "", "")).encode()
        head = RequestReader(target_bytes=100, most_fields=10).read(raw)
        assert not isinstance(head, Denial)
        self.head = head
        self.peer = Peer("192.0.2.1", "http", is_trusted=False)
        self.request_id = b"r1"
        self.trace = b""
        self.loads = None
        self.started = stopwatch()
        self.permit = None
        self.denial = None
        self.status = 0
        self.bytes_in = self.bytes_out = 0
        self.is_over = False
        self.is_request_sent = True
        self.concluded = asyncio.Event()

    def forward(self, permit: Any) -> None:
        self.permit = permit
        self.concluded.set()

    def refuse(self, denial: Denial) -> None:
        self.denial = denial
        self.status = denial.status
        self.concluded.set()


def pipeline(
    stores: Stores,
    *,
    load_seconds: float = 5.0,
    audit: AuditSink | None = None,
    memory: Memory | None = None,
    memo: bool = True,
    gate: Gate | None = None,
) -> Pipeline:
    routes = [
        RouteRule(path="/orders", permission="orders:read"),
        RouteRule(path="/lenient", permission="orders:read", last_known_good_seconds=60.0),
        RouteRule(path="/open", access="public"),
    ]
    return Pipeline(
        snapshot=Snapshot(
            routes=compile_routes(routes, default_upstream="app"),
            credentials=CredentialRules(CREDENTIALS),
            memory=memory or Memory(Cache(), jitter=lambda: 0.5),
            authorizer=Authorizer(Cache(), IdentityFields(Identity()), memo=memo),
            leeways={},
        ),
        loader=stores,
        load_seconds=load_seconds,
        meters=Meters(),
        audit=audit,
        audit_permits=True,
        gate=gate,
    )


async def outcome(led: Pipeline, exchange: Ended) -> Reason:
    led.begin(exchange)
    async with asyncio.timeout(5):
        await exchange.concluded.wait()
    denial = exchange.denial
    if denial is not None:
        return denial.reason
    assert exchange.permit is not None
    return exchange.permit.reason


BEARER = f"Authorization: Bearer {TOKEN}"


async def test_what_memory_lacks_is_loaded_and_the_decision_made_again() -> None:
    stores = Stores()
    assert await outcome(pipeline(stores), Ended(BEARER)) is Reason.GRANTED
    assert [type(need).__name__ for need in stores.asked] == [
        "SessionNeed",
        "UserNeed",
        "RolesNeed",
    ]


async def test_a_public_route_asks_no_store() -> None:
    stores = Stores()
    assert await outcome(pipeline(stores), Ended(start="GET /open HTTP/1.1")) is Reason.PUBLIC
    assert stores.asked == []


async def test_stores_that_are_down_are_503_never_401() -> None:
    async def down(_: Need) -> Found:
        raise StoresUnavailable("gone")

    assert await outcome(pipeline(Stores(down)), Ended(BEARER)) is Reason.STORES_UNAVAILABLE


async def test_stores_that_hang_are_503_in_time() -> None:
    async def hang(_: Need) -> Found:
        await asyncio.Event().wait()
        raise AssertionError

    led = pipeline(Stores(hang), load_seconds=0.02)
    assert await outcome(led, Ended(BEARER)) is Reason.STORES_UNAVAILABLE


async def test_a_bug_in_loading_refuses() -> None:
    async def bug(_: Need) -> Found:
        raise ZeroDivisionError

    assert await outcome(pipeline(Stores(bug)), Ended(BEARER)) is Reason.INTERNAL_ERROR


async def test_a_bug_in_deciding_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(pipeline_module, "decide", broken)
    assert await outcome(pipeline(Stores()), Ended(BEARER)) is Reason.INTERNAL_ERROR


@pytest.mark.parametrize("step", ["settles", "passes"])
async def test_a_bug_in_the_gate_refuses(step: str) -> None:
    class Broken(Gate):
        def __init__(self) -> None:
            """Nothing of a gate but its bug."""

        def settles(self, exchange: Exchange) -> bool:  # noqa: ARG002 - the gate's signature
            if step == "settles":
                raise ZeroDivisionError
            return False

        def passes(self, exchange: Exchange, verdict: Any) -> Any:  # noqa: ARG002 - the gate's signature
            raise ZeroDivisionError

    for start in ("GET /orders HTTP/1.1", "GET /open HTTP/1.1"):
        led = pipeline(Stores(), gate=Broken())
        assert await outcome(led, Ended(BEARER, start=start)) is Reason.INTERNAL_ERROR


async def test_a_decision_that_never_converges_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Missing((RolesNeed("acme"),))
    monkeypatch.setattr(pipeline_module, "decide", lambda *_: missing)
    stores = Stores()
    assert await outcome(pipeline(stores), Ended(BEARER)) is Reason.INTERNAL_ERROR
    assert len(stores.asked) == MOST_ROUNDS


async def test_a_client_that_left_while_loading_is_not_forwarded() -> None:
    gate = asyncio.Event()
    passed = asyncio.Event()

    async def wait(need: Need) -> Found:
        await gate.wait()
        if isinstance(need, RolesNeed):
            passed.set()
        return FACTS[need]

    led = pipeline(Stores(wait))
    exchange = Ended(BEARER)
    led.begin(exchange)
    exchange.is_over = True
    gate.set()
    async with asyncio.timeout(5):
        await passed.wait()
        await asyncio.gather(*led._loading)
    assert not exchange.concluded.is_set()


async def test_upgrades_are_refused() -> None:
    exchange = Ended(
        "Connection: upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        start="GET /open HTTP/1.1",
    )
    assert await outcome(pipeline(Stores()), exchange) is Reason.UNSUPPORTED_UPGRADE


async def test_every_end_is_counted_and_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    records: list[Record] = []
    sink = AuditSink(lambda _: None, 3600.0)
    monkeypatch.setattr(sink, "add", records.append)
    led = pipeline(Stores(), audit=sink)
    permitted, refused, unread = Ended(BEARER), Ended(), Ended()
    await outcome(led, permitted)
    await outcome(led, refused)
    permitted.status = 200
    for exchange in (permitted, refused, unread):
        led.ended(exchange)
    assert led._meters.requests == {
        ("* /orders", "granted", 200): 1,
        ("* /orders", "no-credential", 401): 1,
        ("", "", 0): 1,
    }
    first, second, _ = records
    assert (first.outcome, first.tenant, first.subject, first.session, first.via) == (
        "permit",
        "acme",
        "ann",
        "s1",
        ("clerk",),
    )
    assert (second.outcome, second.reason, second.status) == ("deny", "no-credential", 401)
    permitted.denial = Denial(Reason.UPSTREAM_CLOSED)
    led.ended(permitted)
    assert records[-1].outcome == "fault"


# -- Last known good ----------------------------------------------------------------------------


async def down(_: Need) -> Found:
    raise StoresUnavailable("gone")


async def hanging(_: Need) -> Found:
    await asyncio.Event().wait()
    raise AssertionError


def remembering(seconds_ago: float = 10.0) -> Memory:
    """A memory whose lease ended so long ago."""
    memory = Memory(Cache(), jitter=lambda: 0.5)
    now = instant()
    memory.lease_all(now - seconds_ago)
    for need, fact in FACTS.items():
        memory.put(need, fact, now)
    return memory


LENIENT = "GET /lenient HTTP/1.1"


@pytest.mark.parametrize("stores", [down, hanging])
async def test_a_route_may_accept_what_was_known(
    monkeypatch: pytest.MonkeyPatch, stores: Callable[[Need], Awaitable[Found]]
) -> None:
    records: list[Record] = []
    sink = AuditSink(lambda _: None, 3600.0)
    monkeypatch.setattr(sink, "add", records.append)
    led = pipeline(Stores(stores), load_seconds=0.02, memory=remembering(), audit=sink)
    exchange = Ended(BEARER, start=LENIENT)
    assert await outcome(led, exchange) is Reason.LAST_KNOWN_GOOD
    exchange.status = 200
    led.ended(exchange)
    assert led._meters.requests == {("* /lenient", "last-known-good", 200): 1}
    (record,) = records
    assert (record.outcome, record.reason, record.subject, record.via) == (
        "permit",
        "last-known-good",
        "ann",
        ("clerk",),
    )


@pytest.mark.parametrize(
    ("start", "seconds_ago"), [("GET /orders HTTP/1.1", 10.0), (LENIENT, 61.0)]
)
async def test_other_routes_and_older_facts_stay_refused(start: str, seconds_ago: float) -> None:
    led = pipeline(Stores(down), memory=remembering(seconds_ago))
    assert await outcome(led, Ended(BEARER, start=start)) is Reason.STORES_UNAVAILABLE


async def test_what_was_never_known_stays_refused() -> None:
    led = pipeline(Stores(down))
    assert await outcome(led, Ended(BEARER, start=LENIENT)) is Reason.STORES_UNAVAILABLE


async def test_while_the_stores_answer_they_are_asked() -> None:
    stores = Stores()
    led = pipeline(stores, memory=remembering())
    assert await outcome(led, Ended(BEARER, start=LENIENT)) is Reason.GRANTED
    assert len(stores.asked) == 3


async def test_what_could_be_loaded_counts_although_the_rest_could_not() -> None:
    """Of user and roles, which are asked for together, only one is answered: disabled."""
    failed = asyncio.Event()

    async def half(need: Need) -> Found:
        if isinstance(need, RolesNeed):
            failed.set()
            raise StoresUnavailable("gone")
        if isinstance(need, UserNeed):
            await failed.wait()
            for _ in range(10):
                await asyncio.sleep(0)
            return User(version=2, tenant="acme", subject="ann")
        return FACTS[need]

    led = pipeline(Stores(half), memory=remembering())
    assert await outcome(led, Ended(BEARER, start=LENIENT)) is Reason.STORES_UNAVAILABLE


async def test_a_bug_in_recalling_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(pipeline_module, "decide_without_stores", broken)
    led = pipeline(Stores(down), memory=remembering())
    assert await outcome(led, Ended(BEARER, start=LENIENT)) is Reason.INTERNAL_ERROR


# -- What takes long to compile -----------------------------------------------------------------

MANY = User(
    version=1,
    tenant="acme",
    subject="ann",
    roles=(RoleGrant("clerk"),),
    rules=tuple(RuleGrant(Rule(Effect.ALLOW, "o:r", f"o/{at}")) for at in range(20_000)),
)


async def many(need: Need) -> Found:
    return MANY if isinstance(need, UserNeed) else FACTS[need]


@pytest.mark.parametrize("memo", [True, False])
async def test_what_is_large_is_compiled_between_other_requests(memo: bool) -> None:
    led = pipeline(Stores(many), memo=memo)
    large, turns = Ended(BEARER), 0
    led.begin(large)
    while not large.concluded.is_set():
        turns += 1
        other = Ended(start="GET /open HTTP/1.1")
        led.begin(other)
        assert other.concluded.is_set()
        await asyncio.sleep(0)
    assert large.permit is not None
    assert large.permit.reason is Reason.GRANTED
    assert turns > 20


async def test_many_who_wait_for_the_same_wait_once() -> None:
    led = pipeline(Stores(many))
    exchanges = [Ended(BEARER) for _ in range(20)]
    assert set(await asyncio.gather(*(outcome(led, each) for each in exchanges))) == {
        Reason.GRANTED
    }
    principals = {id(each.permit.principal) for each in exchanges if each.permit is not None}
    assert len(principals) == 1


async def test_compiling_that_takes_too_long_is_our_overload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline_module, "_WORK_SECONDS", 0.0)
    led = pipeline(Stores(many))
    assert await outcome(led, Ended(BEARER)) is Reason.OVERLOADED
    monkeypatch.undo()
    assert await outcome(led, Ended(BEARER)) is Reason.GRANTED


async def test_compiling_is_not_charged_to_the_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was in memory is changed while it is compiled: it has to be loaded, and may be."""
    memory = remembering(-3600.0)
    memory.put(UserNeed("acme", "ann"), MANY, instant())
    led = pipeline(Stores(), load_seconds=0.05, memory=memory)
    finish = Pipeline._finish

    async def slowly(self: Pipeline, work: Any) -> bool:
        await asyncio.sleep(0.1)
        memory.drop(RolesNeed("acme"))
        return await finish(self, work)

    monkeypatch.setattr(Pipeline, "_finish", slowly)
    assert await outcome(led, Ended(BEARER)) is Reason.GRANTED


async def test_the_last_known_good_is_compiled_in_slices_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = remembering()
    memory.put(UserNeed("acme", "ann"), msgspec.structs.replace(MANY, version=2), instant())
    led = pipeline(Stores(down), memory=memory)
    monkeypatch.setattr(pipeline_module, "_WORK_SECONDS", 0.0)
    assert await outcome(led, Ended(BEARER, start=LENIENT)) is Reason.STORES_UNAVAILABLE
    monkeypatch.undo()
    assert await outcome(led, Ended(BEARER, start=LENIENT)) is Reason.LAST_KNOWN_GOOD


async def test_a_bug_in_compiling_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(Pipeline, "_finish", broken)
    assert await outcome(pipeline(Stores(many)), Ended(BEARER)) is Reason.INTERNAL_ERROR

"""Whom a change concerns, and what happens to them; in slices, and without end."""

import asyncio
import time
from typing import Any

import pytest

from sidecar.authorize.permit import Permit
from sidecar.clock import instant
from sidecar.model.change import ChangeKind
from sidecar.model.decision import Denial
from sidecar.model.facts import RoleGraph, Status, User
from sidecar.model.need import RolesNeed
from sidecar.model.shard import shard_of
from sidecar.relay.life import Life
from sidecar.relay.streams import Stream, Streams
from sidecar.sync.keyspace import News
from tests.unit.relay.stage import ANN, Exchange, Stage, unavailable


class Remembering:
    """Something relayed that only remembers."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.life: Life | None = None

    def hold(self) -> None:
        self.told.append("hold")

    def resume(self) -> None:
        self.told.append("resume")

    def renewed(self, permit: Permit) -> None:
        self.told.append(f"renewed {permit.reason}")

    def end(self, denial: Denial) -> None:
        self.told.append(f"end {denial.reason}")

    def leave(self) -> None:
        self.told.append("leave")

    def cut(self) -> None:
        self.told.append("cut")


def news(kind: ChangeKind, subject: str = "", payload: bytes = b"", ago: float = 0.0) -> News:
    published = int((time.time() - ago) * 1000)
    return News(1, shard_of("acme"), 1, kind, "acme", subject, 1, payload, published)


async def lives(number: int, **more: Any) -> tuple[Stage, list[Remembering]]:
    stage = Stage(**more)
    verdict = await stage.decides.settle(Exchange(stage.head, None))
    assert isinstance(verdict, Permit)
    made = []
    for _ in range(number):
        one = Remembering()
        exchange = Exchange(stage.head, verdict)
        one.life = stage.lives.open(one, exchange.head, exchange.peer, b"r", verdict)
        assert one.life.may_pass()
        made.append(one)
    await stage.turns(lambda: not stage.lives._reviewer._is_turning)
    return stage, made


@pytest.mark.parametrize("kind", [ChangeKind.USER, ChangeKind.TENANT, ChangeKind.FLUSH])
async def test_a_disabled_user_s_all_end_once(kind: ChangeKind) -> None:
    stage, made = await lives(300)
    stage.world.facts[ANN] = User(version=9, tenant="acme", subject="ann", status=Status.DISABLED)
    stage.memory.drop(ANN)
    stage.lives.heard(news(kind, "ann", ago=2.0))
    stage.lives.heard(news(kind, "ann"))
    await stage.turns(lambda: not len(stage.lives))
    for _ in range(300):
        await stage.turns()
    assert [one.told for one in made] == [["end user-disabled"]] * 300
    assert stage.decides.loads <= 10, "loaded once for all, as far as they do not overlap"
    assert sum(stage.lives.lag.counts) == 300
    assert stage.lives.lag.total >= 300 * 1.9
    assert not stage.lives._register._index
    await stage.lives.stop()


@pytest.mark.parametrize(
    "told",
    [
        news(ChangeKind.USER, "bob"),
        news(ChangeKind.SESSION, "ann", b"another"),
        news(ChangeKind.EPOCH),
    ],
)
async def test_who_is_not_concerned_is_not_looked_at(told: News) -> None:
    stage, [one] = await lives(1)
    stage.memory.drop(ANN)
    stage.lives.heard(told)
    await stage.turns()
    assert (one.told, stage.decides.settled) == ([], 1)


async def test_a_role_graph_that_changed_renews_or_ends() -> None:
    stage, [one] = await lives(1, access="permission")
    roles = RolesNeed("acme")
    graph = stage.world.facts[roles]
    assert isinstance(graph, RoleGraph)
    stage.world.facts[roles] = RoleGraph(version=8, tenant="acme", roles=graph.roles)
    stage.memory.drop(roles)
    stage.lives.heard(news(ChangeKind.ROLES))
    await stage.turns(lambda: bool(one.told))
    assert one.told == ["renewed granted"]
    stage.world.facts[roles] = RoleGraph(version=9, tenant="acme")
    stage.memory.drop(roles)
    stage.lives.heard(news(ChangeKind.ROLES))
    await stage.turns(lambda: len(one.told) > 1)
    assert one.told[1:] == ["end not-granted"]


async def test_those_of_one_user_go_before_those_of_a_tenant() -> None:
    stage, made = await lives(3)
    stage.lives.heard(news(ChangeKind.TENANT))
    life = made[2].life
    assert life is not None
    stage.lives._reviewer.queue(life, first=True)
    assert stage.lives._reviewer._due[0] is life


async def test_connections_at_rest_are_looked_at_before_memory_stops_vouching() -> None:
    stage, [one] = await lives(1)
    stage.memory.drop(ANN)
    settled = stage.decides.settled
    for _ in range(40):
        stage.lives.expire()
        await stage.turns()
    assert stage.decides.settled > settled
    assert one.told == []
    assert one.life is not None
    assert one.life.stands()


async def test_at_rest_without_stores_nobody_ends() -> None:
    stage, [one] = await lives(1)
    stage.memory.lease_all(0.0)
    stage.decides.refusal = unavailable()
    for _ in range(80):
        stage.lives.expire()
        await stage.turns()
    assert one.told == []
    assert one.life is not None
    assert not one.life.may_pass()
    assert one.told == ["hold"]
    assert not one.life.may_pass(), "once is enough"
    stage.decides.refusal = None
    stage.lives.expire()
    await stage.turns(lambda: len(one.told) > 1)
    assert one.told == ["hold", "resume"]
    await stage.lives.stop()


async def test_a_decision_that_breaks_ends_it() -> None:
    stage, [one] = await lives(1)

    async def broken(_asker: object) -> Permit | Denial:
        raise RuntimeError("a bug")

    stage.decides.settle = broken  # type: ignore[method-assign] # a bug
    stage.memory.drop(ANN)
    stage.lives.heard(news(ChangeKind.USER, "ann"))
    await stage.turns(lambda: bool(one.told))
    assert one.told == ["end internal-error"]


async def test_ending_is_spread() -> None:
    stage, made = await lives(100)
    stage.lives.drain(5.0)
    left = []
    for _ in range(20):
        left.append(sum(one.told == ["leave"] for one in made))
        stage.lives.expire()
    assert left == [5 * number for number in range(1, 21)]
    stage.lives.cut()
    assert all(one.told == ["leave", "cut"] for one in made)


async def test_a_clock_that_is_set_back_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    _, [one] = await lives(1)
    assert one.life is not None
    monkeypatch.setattr("sidecar.relay.life.wall", lambda: time.time() - 100)
    assert not one.life.stands()


async def test_facts_of_the_stores_do_not_stand_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, [one] = await lives(1)
    stage.memory.lease_all(0.0)
    life = one.life
    assert life is not None
    assert not life.may_pass()
    await stage.turns(lambda: "resume" in one.told)
    assert life.may_pass()
    monkeypatch.setattr("sidecar.relay.life.instant", lambda: instant() + 0.8)
    assert not life.stands()


class Response:
    """A response under way."""

    def __init__(self, exchange: Exchange) -> None:
        self.head, self.peer = exchange.head, exchange.peer
        self.request_id, self.permit = exchange.request_id, exchange.permit
        self.started, self.is_over = 0.0, False
        self.guard: Stream | None = None
        self.is_held = False
        self.told: list[object] = []

    @property
    def is_guarded(self) -> bool:
        return self.guard is not None

    def guard_by(self, guard: Stream, /) -> None:
        self.guard = guard

    def hold(self) -> None:
        self.is_held = True

    def release(self) -> None:
        self.is_held = False
        self.told.append("release")

    def relay(self, payload: bytes, *, ended: bool) -> None:
        assert self.guard is not None
        if self.guard.admits(payload, ended=ended):
            self.told.append((payload, ended))

    def break_off(self, denial: Denial) -> None:
        self.told.append(str(denial.reason))
        assert self.guard is not None
        self.guard.left()


async def test_a_response_that_lasts_is_held_and_goes_on_in_order() -> None:
    stage, _ = await lives(0)
    verdict = await stage.decides.settle(Exchange(stage.head, None))
    assert isinstance(verdict, Permit)
    response = Response(Exchange(stage.head, verdict))
    counts: Any = stage.relay.counts.messages
    Stream(stage.lives, counts, response, verdict)
    await stage.turns()
    response.relay(b"one", ended=False)
    stage.memory.lease_all(0.0)
    stage.decides.waits_for = asyncio.Event()
    response.relay(b"two", ended=False)
    assert response.is_held
    response.is_held = False  # it is sent a second time, on another connection
    response.relay(b"three", ended=True)
    assert response.is_held
    assert response.told == [(b"one", False)]
    stage.decides.waits_for.set()
    await stage.turns(lambda: "release" in response.told)
    assert response.told[1:] == [(b"two", False), (b"three", True), "release"]
    stage.world.facts[ANN] = User(version=9, tenant="acme", subject="ann", status=Status.DISABLED)
    stage.memory.drop(ANN)
    response.relay(b"four", ended=False)
    await stage.turns(lambda: "user-disabled" in response.told)
    assert response.told[-1] == "user-disabled"
    assert (b"four", False) not in response.told
    assert len(stage.lives) == 0


async def test_who_was_disabled_before_it_was_registered_ends_at_rest() -> None:
    """The news concerned nobody yet: the upstream had not answered the handshake."""
    stage, [one] = await lives(1)
    assert one.life is not None
    stage.world.facts[ANN] = User(version=9, tenant="acme", subject="ann", status=Status.DISABLED)
    stage.memory.drop(ANN)
    late = Remembering()
    life = one.life
    stage.lives.open(late, life.head, life.peer, b"r", life.permit)
    await stage.turns(lambda: bool(late.told))
    assert late.told == ["end user-disabled"]


async def hold_all(stage: Stage, made: list[Remembering]) -> None:
    stage.memory.lease_all(0.0)
    for one in made:
        assert one.life is not None
        assert not one.life.may_pass()
    await stage.turns()


async def test_all_that_are_held_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that still wait for a worker while the stores hang."""
    stage, made = await lives(40)
    stage.decides.waits_for = asyncio.Event()
    await hold_all(stage, made)
    stage.lives.expire()
    assert [one.told for one in made] == [["hold"]] * 40
    monkeypatch.setattr("sidecar.relay.reviewing.instant", lambda: instant() + 5.0)
    stage.lives.expire()
    assert [one.told for one in made] == [["hold", "end stores-unavailable"]] * 40
    assert not stage.lives._reviewer._wanted_first
    await stage.lives.stop()


async def test_those_that_are_held_are_decided_about_first() -> None:
    stage, made = await lives(20)
    answer = stage.decides.waits_for = asyncio.Event()
    asked: list[object] = []
    settle = stage.decides.settle

    async def watched(asker: Any) -> Permit | Denial:
        asked.append(asker)
        return await settle(asker)

    stage.decides.settle = watched  # type: ignore[method-assign] # also remembers
    stage.memory.lease_all(0.0)
    stage.lives.heard(news(ChangeKind.TENANT))
    await stage.turns()
    assert len(asked) == 8
    waiting = [one.life for one in made if one.life not in asked]
    held = waiting[-1]
    assert held is not None
    assert not held.may_pass()
    answer.set()
    await stage.turns(lambda: len(asked) == 20)
    assert asked[8] is held
    await stage.lives.stop()


async def test_a_bug_in_one_leaves_no_other_open(caplog: pytest.LogCaptureFixture) -> None:
    stage, [one, other] = await lives(2)

    def end(denial: Denial) -> None:
        raise RuntimeError(denial)

    one.end = end  # type: ignore[method-assign] # a bug
    stage.world.facts[ANN] = User(version=9, tenant="acme", subject="ann", status=Status.DISABLED)
    stage.memory.put(ANN, stage.world.facts[ANN], instant())
    stage.lives.heard(news(ChangeKind.USER, "ann"))
    await stage.turns(lambda: bool(other.told))
    assert (one.told, other.told) == (["cut"], ["end user-disabled"])
    assert not len(stage.lives)
    assert "could not be ended in order" in caplog.text
    assert not stage.lives._reviewer._is_turning


async def test_a_bug_in_a_renewal_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    """What does not know of its new permit must not go on."""
    stage, [one] = await lives(1)

    def renewed(permit: Permit) -> None:
        raise RuntimeError(permit)

    one.renewed = renewed  # type: ignore[method-assign] # a bug
    stage.world.facts[ANN] = User(version=9, tenant="acme", subject="ann")
    stage.memory.put(ANN, stage.world.facts[ANN], instant())
    assert one.life is not None
    assert not one.life.may_pass()
    assert one.told == ["end internal-error"]
    assert "could not be decided again" in caplog.text


async def test_a_bug_in_leaving_leaves_no_other_open(caplog: pytest.LogCaptureFixture) -> None:
    stage, [one, other] = await lives(2)

    def leave() -> None:
        raise RuntimeError("a bug")

    one.leave = leave  # type: ignore[method-assign] # a bug
    stage.lives.drain(0.0)
    assert other.told == ["leave"]
    assert "could not be ended" in caplog.text


async def test_who_comes_as_the_last_worker_ends_is_decided_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All workers have found nothing more to do, and none has been forgotten yet."""
    monkeypatch.setattr("sidecar.relay.reviewing._SLICE_SECONDS", 1000.0)
    stage, made = await lives(9)
    answer = stage.decides.waits_for = asyncio.Event()
    *others, last = made
    stage.memory.lease_all(0.0)
    for one in others:
        assert one.life is not None
        assert not one.life.may_pass()
    await stage.turns()
    answer.set()
    assert last.life is not None
    asyncio.get_running_loop().call_soon(last.life.may_pass)
    await stage.turns(lambda: "resume" in last.told)
    assert last.told == ["hold", "resume"]
    await stage.lives.stop()


async def test_one_that_cannot_be_asked_about_ends_and_the_others_are_asked_about() -> None:
    stage, _ = await lives(0)
    verdict = await stage.decides.settle(Exchange(stage.head, None))
    assert isinstance(verdict, Permit)
    one, other = Response(Exchange(stage.head, verdict)), Response(Exchange(stage.head, verdict))
    one.started = other.started = -2.0
    broken: Any = one
    broken.head = None
    broken.break_off = lambda denial: one.told.append(str(denial.reason))
    streams = Streams(stage.lives, lambda: [one, other], stage.sweeper, lambda: 0.0)
    streams.expire()
    assert one.told == ["internal-error"]
    assert other.is_guarded
    await stage.lives.stop()

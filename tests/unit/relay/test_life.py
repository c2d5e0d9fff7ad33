"""What vouches for a permit, and which verdicts count."""

import asyncio

import pytest

from sidecar.authorize.permit import Permit
from sidecar.clock import instant, wall
from sidecar.model.decision import Denial
from sidecar.model.reason import Reason
from sidecar.relay.reviewing import Asker
from tests.cases.world import head_of, present
from tests.unit.relay.stage import ANN, Exchange
from tests.unit.relay.test_lives import lives


async def test_what_a_lease_gave_stands_no_longer_than_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a lease from now is for what the stores said from now on."""
    stage, [one] = await lives(1)
    life = one.life
    assert life is not None
    stage.memory.lease_all(instant() + 0.2)
    before = life.before()
    region, key = stage.memory._regions.place(ANN)
    region.delete(key)
    life.renew(life.permit, before, 0.75)
    assert life.stands()
    monkeypatch.setattr("sidecar.relay.life.instant", lambda: instant() + 0.3)
    assert not life.stands()


async def test_a_lease_that_ended_before_bounds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, [one] = await lives(1)
    life = one.life
    assert life is not None
    stage.memory.lease_all(instant() - 1.0)
    life.renew(life.permit, life.before(), 0.75)
    monkeypatch.setattr("sidecar.relay.life.instant", lambda: instant() + 0.5)
    assert life.stands()


async def test_a_verdict_about_a_credential_that_was_replaced_is_none() -> None:
    """The old one is refused while the fresh one has been accepted already."""
    stage, [one] = await lives(1)
    life = one.life
    assert life is not None
    asked: list[bytes] = []
    answer: asyncio.Future[Permit | Denial] = asyncio.get_running_loop().create_future()

    async def settle(asker: Asker) -> Permit | Denial:
        asked.append(asker.head.first[b"authorization"])
        return await answer

    settled = stage.decides.settle
    stage.decides.settle = settle  # type: ignore[method-assign] # waits
    stage.memory.drop(ANN)
    stage.lives._reviewer.queue(life)
    await stage.turns(lambda: bool(asked))

    [(name, value)] = present(stage.world, {"token": {"sub": "ann", "exp": int(wall() + 5000)}})
    head = head_of("GET", "/ws", fields=((name, value),))
    head.upgrade, head.authority, head.minor = life.head.upgrade, b"", 1
    before = life.before()
    permit = await settled(Exchange(head, None))
    assert isinstance(permit, Permit)
    stage.lives.replace(life, head, permit, before)
    answer.set_result(Denial(Reason.TOKEN_EXPIRED))
    await stage.turns()
    assert one.told == ["renewed authenticated"]
    assert life.stands()
    assert life.permit.expires_at == permit.expires_at
    await stage.lives.stop()


async def test_changes_of_another_tenant_vouch_for_nothing() -> None:
    """A route that was public when it was asked about, and asks for somebody by the end."""
    _, [one] = await lives(1)
    life = one.life
    assert life is not None
    before = life.before()
    life.renew(life.permit, before, 0.75)
    assert life.stands()
    life.renew(life.permit, before._replace(shard=before.shard + 1), 0.75)
    assert not life.stands()
    assert life.may_pass()

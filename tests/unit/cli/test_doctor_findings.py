"""How the checks of `sidecar doctor` are run: bounded, and none in another's way."""

import asyncio

import pytest

from sidecar.cli import doctor_findings
from sidecar.cli.doctor_findings import (
    Finding,
    State,
    Told,
    bounded,
    examine,
    examine_each,
    fine,
    problem,
    surely,
)


async def test_each_check_is_bounded_and_none_hinders_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor_findings, "CHECK_SECONDS", 0.01)
    looked: list[str] = []

    async def breaks() -> list[Finding]:
        raise RuntimeError("for this reason\nand more")

    async def tells() -> list[Finding]:
        raise Told(problem("a", "told"))

    async def hangs() -> list[Finding]:
        await asyncio.Event().wait()
        raise AssertionError

    async def never() -> list[Finding]:
        looked.append("never")
        return []

    checks = (("one", breaks), ("two", tells), ("three", hangs), ("four", never))
    found = await examine_each("a", checks)
    assert [each.message for each in found] == [
        "one could not be checked: for this reason",
        "told",
        "three: no answer within 0.01 s",
    ]
    assert {each.state for each in found} == {State.PROBLEM}
    assert looked == [], "the same connection would not answer either"
    assert (await surely("a", breaks()))[0].message == "could not be checked: for this reason"


async def test_who_does_not_let_itself_be_cancelled_is_not_waited_for() -> None:
    ended = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await ended.wait()
            raise RuntimeError("too late to tell") from None

    with pytest.raises(TimeoutError):
        await bounded(stubborn(), 0.01)
    ended.set()


async def test_what_is_found_is_given_on() -> None:
    async def well() -> list[Finding]:
        return [fine("a", "well")]

    assert await examine("a", "it", well) == [fine("a", "well")]

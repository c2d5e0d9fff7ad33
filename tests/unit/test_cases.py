"""Decisions as tables: every file in tests/cases, each case with memory and without."""

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from sidecar.authorize.permit import Permit
from sidecar.model.decision import Denial
from tests.cases.world import build, head_of, present

FILES: Final = sorted((Path(__file__).parent.parent / "cases").glob("*.yaml"))
NOW: Final = 1_000.0


def _cases() -> list[Any]:
    return [
        pytest.param(document, case, id=f"{file.stem}: {case['case']}")
        for file in FILES
        for document in [yaml.safe_load(file.read_text(encoding="utf-8"))]
        for case in document["cases"]
    ]


def _told(outcome: Permit | Denial) -> dict[str, Any]:
    """The outcome in the words of a case."""
    told: dict[str, Any] = {"reason": outcome.reason.value}
    if outcome.route is not None:
        told["route"] = outcome.route.name
    if outcome.principal is not None:
        told["who"] = f"{outcome.principal.tenant}/{outcome.principal.subject}"
        told["roles"] = list(outcome.principal.roles)
        told["credential"] = outcome.principal.credential
        told["identity"] = outcome.principal.identity.decode("ascii")
    if outcome.origin is not None:
        told["rule"] = f"{outcome.origin.effect} {outcome.origin.action}"
        told["where"] = outcome.origin.resource
        told["through"] = list(outcome.origin.path)
    if isinstance(outcome, Denial):
        told["status"] = outcome.status
        told["allow"] = list(outcome.allow)
    else:
        told["resource"] = outcome.resource
        told["parameters"] = dict(outcome.parameters)
        told["until"] = outcome.expires_at
    return told


@pytest.mark.parametrize(("memory", "memo"), [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize(("document", "case"), _cases())
def test_case(
    document: dict[str, Any],
    case: dict[str, Any],
    memory: bool,  # a parameter of the table
    memo: bool,  # a parameter of the table
) -> None:
    world = build(document, memory=memory, memo=memo)
    method, _, target = case["ask"].partition(" ")
    head = head_of(method, target, host=case.get("host", ""), fields=present(world, case))
    now = case.get("at", NOW)

    cold = _told(world.ask(head, now))
    loaded = world.loads
    warm = _told(world.ask(head, now))

    assert {key: cold.get(key) for key in case["gives"]} == case["gives"]
    assert warm == cold
    assert (world.loads == loaded) is (memory or not loaded)


def test_each_file_has_cases() -> None:
    assert len(FILES) >= 6
    assert all("cases" in file.read_text(encoding="utf-8") for file in FILES)

"""Message rules as tables: every file in tests/cases/messages, fed whole."""

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.cases.messages.world import asked, gate_of

FILES: Final = sorted((Path(__file__).parents[3] / "cases" / "messages").glob("*.yaml"))


def _cases() -> list[Any]:
    return [
        pytest.param(document, case, id=f"{file.stem}: {case['case']}")
        for file in FILES
        for document in [yaml.safe_load(file.read_text(encoding="utf-8"))]
        for case in document["cases"]
    ]


def _chosen(said: Any, gives: Any) -> Any:
    return {key: said.get(key) for key in gives} if isinstance(said, dict) else said


@pytest.mark.parametrize(("document", "case"), _cases())
def test_case(document: dict[str, Any], case: dict[str, Any]) -> None:
    name = case.get("as", "ann")
    gate = gate_of(document, document["users"][name])
    for step in case.get("steps", [case]):
        gives = step["gives"]
        if gives == "allow":
            assert asked(gate, step) == "allow"
            # What was remembered meanwhile says the same; unless once and twice differ.
            assert case.get("once") or asked(gate, step) == "allow"
        else:
            said = asked(gate, step)
            assert said != "allow"
            assert _chosen(said, gives) == gives
            assert asked(gate, step) == said


def test_there_is_a_table_for_each_protocol() -> None:
    assert [file.stem for file in FILES] == ["graphql", "json", "json_rpc", "stomp"]

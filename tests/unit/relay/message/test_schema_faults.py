"""Where a value is not as a schema says is asked of a process, which is ended in time."""

import io
import json
import resource
import signal
import sys
from decimal import Decimal

import pytest

from sidecar.relay.message import schema_faults as module
from sidecar.relay.message.schema_faults import answer, faults_within

SCHEMA = {"type": "object", "additionalProperties": {"type": "integer"}}


def test_the_first_are_told() -> None:
    value = dict.fromkeys("abcdefgh", "secret")
    found = faults_within(SCHEMA, value, 60)
    assert found == ("/a: type", "/b: type", "/c: type", "/d: type", "/e: type")


def test_time_is_up() -> None:
    assert faults_within(SCHEMA, 1, 0) is None


def test_what_only_python_knows_is_not_asked() -> None:
    assert faults_within(SCHEMA, {"a": Decimal(1)}, 60) is None


def test_no_process_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert faults_within(SCHEMA, 1, 60) is None


def test_a_process_that_fails_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PROGRAM", "raise SystemExit(3)")
    assert faults_within(SCHEMA, 1, 60) is None


def test_the_process_ends_by_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    due: list[int] = []
    limits: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(signal, "alarm", due.append)
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps([SCHEMA, {"a/b": None, "c": 1}])))
    answer(3)
    assert due == [3]
    assert limits == {resource.RLIMIT_CORE: (0, 0), resource.RLIMIT_AS: (2**29, 2**29)}
    assert json.loads(capsys.readouterr().out) == ["/a~1b: type"]

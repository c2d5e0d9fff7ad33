"""What `sidecar doctor` says of the machine it runs on."""

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sidecar.cli import doctor_machine
from sidecar.cli.doctor_findings import Finding, State
from sidecar.settings.load import load
from sidecar.settings.schema import Root


@pytest.fixture
def root(config: Path) -> Root:
    return load(config, environ=os.environ)


def test_descriptors(root: Root) -> None:
    assert doctor_machine.look_at_descriptors(root, 1_000_000).state is State.OK
    found = doctor_machine.look_at_descriptors(root, 1024)
    assert (found.state, "LimitNOFILE=" in found.advice) == (State.WARNING, True)
    assert doctor_machine.look_at_descriptors(root).state in {State.OK, State.WARNING}


def test_a_machine_without_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor_machine.look_at_clock().state is State.OK
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    assert doctor_machine.look_at_clock().state is State.PROBLEM


def with_section(root: Root, name: str, **values: Any) -> Root:
    section = msgspec.structs.replace(getattr(root, name), **values)
    return msgspec.structs.replace(root, **{name: section})


def test_the_audit_sink(root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def state(sink: str) -> State:
        return doctor_machine.look_at_audit(with_section(root, "audit", sink=sink)).state

    assert state("stdout") is State.OK
    assert state("off") is State.WARNING
    assert state(f"file:{tmp_path}/audit.jsonl") is State.OK
    assert not (tmp_path / "audit.jsonl").exists(), "it only looks"
    assert state(f"file:{tmp_path}") is State.PROBLEM
    assert state("file:/nowhere/audit.jsonl") is State.PROBLEM
    monkeypatch.setattr(doctor_machine, "_LITTLE_BYTES", float("inf"))
    assert state(f"file:{tmp_path}/audit.jsonl") is State.WARNING
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert state(f"file:{tmp_path}/audit.jsonl") is State.PROBLEM


def test_the_admin_listener(root: Root) -> None:
    def look(**admin: Any) -> Finding:
        return doctor_machine.look_at_admin(with_section(root, "admin", **admin))

    assert look(address="unix:/run/admin.sock").state is State.OK
    assert "off" in look().message
    assert "on" in look(token="t" * 32).message
    exposed = look(address="0.0.0.0:9901", token="t" * 32)
    assert (exposed.state, "in clear" in exposed.message) == (State.WARNING, True)

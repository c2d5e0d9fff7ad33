"""Hooks read messages of other protocols; whatever goes wrong in one refuses the message."""

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from sidecar.relay.gate import Direction, Kind
from sidecar.relay.message.call import Call
from sidecar.relay.message.gate import MessageGate
from sidecar.relay.message.hook import HookError, load_hook
from sidecar.relay.message.refusal import UnreadableError
from tests.cases.messages.world import gate_of, told

DOCUMENT: Final[dict[str, Any]] = {
    "messages": {
        "protocol": "hook",
        "hook": "hook_under_test:read",
        "items": 3,
        "longest_bytes": 70_000,
        "error": '{"no": "{id}"}',
        "rules": [
            {
                "type": "get",
                "permission": "orders:read",
                "resource": "orders/{id}",
                "fields": {"id": "/id"},
            }
        ],
    }
}
RECURSIVE: Final = {
    "messages": DOCUMENT["messages"]
    | {
        "rules": [
            DOCUMENT["messages"]["rules"][0]
            | {
                "schema": {
                    "type": ["object", "array", "integer", "string"],
                    "additionalProperties": {"$ref": "#"},
                    "items": {"$ref": "#"},
                }
            }
        ]
    }
}
NO: Final = {"drop": "internal-error", "to_client": '{"no":null}'}


def read(direction: str, is_text: bool, payload: bytes) -> Iterable[Any]:
    """``get 1; get 2``, or what the first word says."""
    assert (direction, is_text) == ("client", False)
    if payload == b"raise":
        raise KeyError
    if payload == b"unreadable":
        raise UnreadableError("no")
    if payload == b"deep":
        raise RecursionError
    if payload == b"exit":
        sys.exit(3)
    if payload == b"cancelled":
        raise asyncio.CancelledError
    if payload == b"interrupted":
        raise KeyboardInterrupt
    if payload == b"exit later":
        return (sys.exit(3) for _ in "x")
    if payload == b"for ever":
        return _for_ever()
    if payload == b"text":
        return "text"
    if payload == b"number":
        return [Call(7)]  # type: ignore[arg-type]  # as a hook may
    if payload.startswith(b"made "):
        return [Call("get", None, MADE[payload]())] * 2
    if payload == b"none":
        return None  # type: ignore[return-value]  # as a hook may
    parts = [part.split() for part in payload.decode().split(";") if part]
    return [Call(part[0], None, {"id": part[1]}, part[1]) for part in parts]


def _nested(levels: int, make: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = make(value)
    return {"id": "1", "nested": value}


def _within_itself() -> Any:
    value: list[Any] = []
    value.append(value)
    return {"id": "1", "nested": value}


# Of two calls each: 32 deep and 65 536 values are what goes.
MADE: Final[dict[bytes, Callable[[], Any]]] = {
    b"made 32 deep": lambda: _nested(31, lambda value: [value]),
    b"made 33 deep": lambda: _nested(32, lambda value: [value]),
    b"made 33 deep of objects": lambda: _nested(32, lambda value: {"a": value}),
    b"made 33 deep of tuples": lambda: _nested(32, lambda value: (value,)),
    b"made 30000 deep": lambda: _nested(30_000, lambda value: [value]),
    b"made within itself": _within_itself,
    b"made of references": lambda: _nested(30, lambda value: [value, value]),
    b"made 65536 values": lambda: {"id": "1", "nested": [0] * 32_766},
    b"made 65538 values": lambda: {"id": "1", "nested": [0] * 32_767},
    b"made 65538 values of so many octets".ljust(65_538): lambda: {
        "id": "1",
        "nested": [0] * 32_767,
    },
}


def _for_ever() -> Iterator[Call]:
    while True:
        yield Call("get", None, {"id": "1"})


@pytest.mark.parametrize(
    ("payload", "gives"),
    [
        (b"get 1", "allow"),
        (b"get 1;get 1;get 1", "allow"),
        (b"get 2", {"drop": "not-granted", "to_client": '{"no":"2"}'}),
        (b"get 1;get 2", {"drop": "not-granted", "to_client": '{"no":"2"}'}),
        (b"put 1", {"drop": "unknown-type", "to_client": '{"no":"1"}'}),
        (b"get 1;get 1;get 1;get 1", NO),
        (b"", {"drop": "unreadable-message", "to_client": '{"no":null}'}),
        (b"unreadable", {"drop": "unreadable-message", "to_client": '{"no":null}'}),
        (b"raise", NO),
        (b"deep", NO),
        (b"exit", NO),
        (b"exit later", NO),
        (b"cancelled", NO),
        (b"for ever", NO),
        (b"text", NO),
        (b"number", NO),
        (b"none", NO),
    ],
)
def test_a_hook(payload: bytes, gives: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(_gate(monkeypatch).judge(Direction.CLIENT, Kind.BINARY, payload)) == gives


@pytest.mark.parametrize("payload", MADE, ids=lambda payload: payload.decode().strip())
@pytest.mark.parametrize("schema", [False, True])
def test_what_a_hook_makes_is_bounded(
    payload: bytes, schema: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A validator that follows a reference for as long as there is something would end it all."""
    goes = payload.strip() in {
        b"made 32 deep", b"made 65536 values", b"made 65538 values of so many octets"
    }  # fmt: skip
    unreadable = {"drop": "unreadable-message", "to_client": '{"no":null}'}
    gate = _gate(monkeypatch, RECURSIVE if schema else DOCUMENT)
    verdict = told(gate.judge(Direction.CLIENT, Kind.BINARY, payload))
    assert verdict == ("allow" if goes else unreadable)


def test_an_interrupt_is_for_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        _gate(monkeypatch).judge(Direction.CLIENT, Kind.BINARY, b"interrupted")


def test_a_module_that_ends_the_process_is_no_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hook_that_exits.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(HookError, match="cannot be imported"):
        load_hook("hook_that_exits:read")


def _gate(monkeypatch: pytest.MonkeyPatch, document: dict[str, Any] = DOCUMENT) -> MessageGate:
    module = ModuleType("hook_under_test")
    module.read = read  # type: ignore[attr-defined]  # a module made here
    monkeypatch.setitem(sys.modules, "hook_under_test", module)
    return gate_of(document, ["allow orders:read on orders/1"])

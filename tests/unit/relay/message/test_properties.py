"""Whatever arrives: no exception, and what is decided is what every other reader reads."""

import json
from typing import Any, Final

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sidecar.relay.gate import ALLOW, Close, Direction, Drop, Kind
from sidecar.relay.message.document import read_document
from sidecar.relay.message.pattern import Pattern
from sidecar.relay.message.pointer import UNCLEAR, Pointer
from sidecar.relay.message.refusal import UnreadableError
from sidecar.relay.message.value import is_segment
from tests.cases.messages.world import gate_of, policy_of
from tests.unit.relay.message.test_message_cases import FILES

DOCUMENTS: Final = {file.stem: yaml.safe_load(file.read_text("utf-8")) for file in FILES}
POLICIES: Final = {name: policy_of(document) for name, document in DOCUMENTS.items()}
# Pieces of messages of all protocols: put together they are nearly valid.
_WORDS: Final = """
{ } [ ] , : " "type": "order.list" "scope":"own" "id":1 null "jsonrpc":"2.0" "method":"text/a"
"Method":"x" \\ud800 \\u0041 1e999 -0 SEND SUBSCRIBE destination:/topic/news content-length:3
kind:draft "payload":{ "query":"{me{name}}" "subscribe" "next" {} "id":"1" "connection_init"
"params":{"order":1} "result":1
"""
PIECES: Final = [*_WORDS.split(), "\n", "\r\n", "\r", "\0", " ", "\ufeff", "\u017f"]
PAYLOADS: Final = st.one_of(
    st.binary(max_size=80),
    st.lists(st.sampled_from(PIECES), max_size=24).map(lambda pieces: "".join(pieces).encode()),
)
# Texts of JSON objects, with everything that may differ between readers.
NAMES: Final = st.sampled_from(
    ["type", "Type", "ty\\u0070e", "id", "ID", "x", "\u0131d", "K", "\u212a"]
)
NUMBERS: Final = st.sampled_from(
    ["0", "1", "-1", "1.0", "1e2", "9007199254740991", "9007199254740992", "-0", "1e400", "0.10"]
)
STRINGS: Final = st.sampled_from(
    ['"a"', '"\\u0061"', '"A"', '"\\ud83d\\ude00"', '"\\ud83d"', '"x\\ude00"', '"é"', '""']
)


def _objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.lists(st.tuples(NAMES, values), max_size=4)
    return pairs.map(
        lambda all_: "{" + ",".join(f'"{name}": {value}' for name, value in all_) + "}"
    )


def _lists(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, max_size=3).map(lambda all_: "[" + ",".join(all_) + "]")


TEXTS: Final = _objects(
    st.recursive(
        NUMBERS | STRINGS | st.sampled_from(["null", "true", "NaN"]),
        lambda inner: _objects(inner) | _lists(inner),
        max_leaves=6,
    )
)


def first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        made.setdefault(name, value)
    return made


def folded(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """As Go reads into a struct: names in any case, the last wins."""
    return {name.casefold(): value for name, value in pairs}


@pytest.mark.parametrize("protocol", sorted(POLICIES))
@given(payload=PAYLOADS, direction=st.sampled_from(Direction), kind=st.sampled_from(Kind))
def test_nothing_raises(protocol: str, payload: bytes, direction: Direction, kind: Kind) -> None:
    gate = gate_of(DOCUMENTS[protocol], ["allow *"], POLICIES[protocol])
    verdict = gate.judge(direction, kind, payload)
    assert verdict is ALLOW or isinstance(verdict, Drop | Close)
    # No bug hides behind a refusal.
    assert verdict is ALLOW or verdict.label != "internal-error"


@given(text=TEXTS)
def test_all_readers_read_the_same_document(text: str) -> None:
    try:
        value = read_document(text.encode())
    except UnreadableError:
        return
    assert json.loads(text) == value
    assert json.loads(text, object_pairs_hook=first_wins) == value
    assert msgspec.json.decode(text.encode()) == value
    # Whatever is read as a double is the same number.
    assert json.loads(text, parse_int=float) == value
    json.dumps(value, ensure_ascii=False).encode("utf-8")


@given(text=TEXTS, place=st.sampled_from(["/type", "/id", "/type/id", "/x/0", "/x/type", "/K"]))
def test_all_readers_find_the_same_at_a_pointer(text: str, place: str) -> None:
    try:
        found = Pointer(place).find(read_document(text.encode()))
    except UnreadableError:
        return
    if found is UNCLEAR:
        return
    other = json.loads(text, object_pairs_hook=folded)
    for token in place.casefold().split("/")[1:]:
        if isinstance(other, dict):
            other = other.get(token, ...)
        else:
            other = (
                other[int(token)]
                if isinstance(other, list) and len(other) > 0 and token == "0"
                else ...
            )
    if other is ...:
        assert repr(found) == "MISSING"
    else:
        assert json.loads(json.dumps(found), object_pairs_hook=folded) == other


@given(
    text=st.text(max_size=12)
    | st.sampled_from(["..", ".", "a/b", "\uff11", " 1", "\ufb01", "a\u200b"])
)
def test_a_segment_has_one_reading(text: str) -> None:
    if not is_segment(text):
        return
    assert text.split("/") == [text]
    assert text.strip() == text
    assert text not in {"", ".", ".."}
    assert not set(text) & set("*%\\;>#,?{}\0\n\r\t\x7f")
    assert json.loads(json.dumps(text)) == text


@given(text=st.text(alphabet="ab./*{}>#", max_size=12))
def test_a_pattern_matches_no_wildcard(text: str) -> None:
    captured = Pattern("/topic/{a}.b.{rest*}").match("/topic/" + text)
    if captured is not None:
        assert f"{captured['a']}.b.{captured['rest']}" == text
        assert not set(text) & set("*{}>#")
        assert "." not in captured["a"]


def _reading_of_1_0(payload: bytes) -> tuple[str, str | None]:
    """Command and destination as STOMP 1.0 has it: trimmed, the last of equal headers."""
    head = payload.partition(b"\n\n")[0].decode()
    command, *lines = head.split("\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip()] = value.strip()
    return command.strip(), headers.get("destination")


@given(
    lines=st.lists(
        st.sampled_from(
            ["destination:/topic/news", "destination:/topic/orders.2", "destination :/topic/news",
             "Destination:/topic/orders.2", "destination: /topic/news", "x:y", "kind:draft", "id:1",
             "content-length:1", "destination:/app/x", "receipt:a\\c"]
        ), max_size=4,
    ),
    command=st.sampled_from(["SEND", "SUBSCRIBE", "SEND "]),
    body=st.sampled_from(["", "x", "\0", "xy"]),
)  # fmt: skip
def test_old_brokers_read_the_same_destination(lines: list[str], command: str, body: str) -> None:
    payload = "\n".join([command, *lines, "", body + "\0"]).encode()
    try:
        (call,) = POLICIES["stomp"].reader().read(Direction.CLIENT, Kind.TEXT, payload)
    except UnreadableError:
        return
    assert (call.type, call.topic) == _reading_of_1_0(payload)

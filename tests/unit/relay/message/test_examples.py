"""The examples that people copy do what they say."""

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from sidecar.relay.gate import Direction, Kind
from sidecar.relay.message.compilation import compile_messages
from sidecar.relay.message.gate import MessageGate
from sidecar.relay.message.refusal import Refusal
from sidecar.route.rules import compile_routes
from sidecar.settings.load import parse
from tests.cases.messages.world import gate_of, permit_for, subject_with, told

ROOT: Final = Path(__file__).parents[4]
ENVIRON: Final = {
    "SIDECAR_DATABASE_URL": "postgresql://sidecar@db/sidecar",
    "SIDECAR_TOKEN_KEY": "0123456789abcdef0123456789abcdef",
}
QUERY: Final = "subscription OnOrder($id: ID!) { order(id: $id) { id total } }"
OPERATION: Final = (
    '{"id": "1", "type": "subscribe", "payload": {"operationName": "OnOrder", "query": "'
    + QUERY
    + '", "variables": {"id": "17"}}}'
)
CASES: Final[list[tuple[str, list[str], str, str]]] = [
    ("json-rpc", ["allow orders:read on shops/3/orders/17"], "allow",
     '{"jsonrpc":"2.0","id":1,"method":"orders.get","params":{"order_id":17}}'),
    ("json-rpc", [], "not-granted",
     '{"jsonrpc":"2.0","id":1,"method":"orders.get","params":{"order_id":17}}'),
    ("json-rpc", [], "allow",
     '{"jsonrpc":"2.0","id":1,"method":"orders.cancel","params":{"order_id":17,"dry_run":true}}'),
    ("json-rpc", [], "not-granted",
     '{"jsonrpc":"2.0","id":1,"method":"orders.cancel","params":{"order_id":17,"dry_run":false}}'),
    ("json-rpc", ["allow *"], "unreadable-message",
     '{"jsonrpc":"2.0","id":1,"method":"orders.cancel","params":{"order_id":17,"dry_run":"true"}}'),
    ("json-rpc", ["allow *"], "forbidden", '{"jsonrpc":"2.0","id":1,"method":"admin.stop"}'),
    ("json-rpc", ["allow *"], "unknown-type", '{"jsonrpc":"2.0","id":1,"method":"other"}'),
    ("stomp", ["allow orders:read on orders/17"], "allow",
     "SUBSCRIBE\nid:1\ndestination:/topic/orders.17\n\n\0"),
    ("stomp", ["allow accounts:debit on accounts/a1"], "allow",
     'SEND\ndestination:/app/transfer\ncontent-type:application/json\n\n{"from":{"account":"a1"}}\0'),
    ("stomp", ["allow accounts:debit on accounts/a1"], "not-granted",
     'SEND\ndestination:/app/transfer\ncontent-type:application/json\n\n{"from":{"account":"a2"}}\0'),
    ("graphql", ["allow orders:read on orders/17"], "allow", OPERATION),
    ("graphql", ["allow orders:read on orders/18"], "not-granted", OPERATION),
    ("graphql", ["allow orders:read on orders/17"], "not-granted", OPERATION.replace("total", "x")),
    ("graphql", ["allow graphql:any"], "allow", OPERATION.replace("total", "x")),
]  # fmt: skip


@pytest.mark.parametrize(("example", "rules", "gives", "message"), CASES)
def test_an_example(example: str, rules: list[Any], gives: str, message: str) -> None:
    path = ROOT / "config" / "examples" / f"websocket-{example}.yaml"
    (rule,) = parse(path.read_text(), environ=ENVIRON, file=path.name).routes
    subject = subject_with([*rules, "allow shops:enter"])
    permit = permit_for(compile_routes([rule], default_upstream="app"), subject, {"shop_id": "3"})
    policy = compile_messages(rule)
    subprotocol = "graphql-transport-ws" if example == "graphql" else ""
    gate = policy.gate(permit, subprotocol)
    assert isinstance(gate, MessageGate)
    said = told(gate.judge(Direction.CLIENT, Kind.TEXT, message.encode()))
    label = said if isinstance(said, str) else said.get("drop") or said["label"]
    assert label == gives


def test_the_hook_of_the_documentation_reads() -> None:
    text = (ROOT / "docs" / "websocket.md").read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    module: dict[str, Any] = {}
    exec(code, module)  # noqa: S102 - our own documentation
    (call,) = module["read"]("client", True, b"GET order 17")
    assert (call.type, call.topic, call.fields, call.id) == ("GET", "order", {"name": "17"}, None)


@pytest.mark.parametrize(
    ("params", "gives"),
    [
        ('{"sku": "ABC-1234", "count": 2}', "allow"),
        ('{"sku": "ABC-12345", "count": 2}', "invalid-message"),
        ('{"sku": "ABC-1234", "count": 2.5}', "invalid-message"),
        ('{"SKU": "ABC-1234", "count": 2}', "invalid-message"),
    ],
)
def test_the_schema_of_the_documentation_holds(params: str, gives: str) -> None:
    text = (ROOT / "docs" / "websocket.md").read_text(encoding="utf-8")
    rules = text.partition("### Schemas\n\n```yaml\n")[2].partition("```")[0]
    document = {"messages": {"protocol": "json-rpc", "refused": "drop", **yaml.safe_load(rules)}}
    gate = gate_of(document, ["allow orders:create"])
    message = f'{{"jsonrpc": "2.0", "method": "orders.place", "params": {params}}}'
    said = told(gate.judge(Direction.CLIENT, Kind.TEXT, message.encode()))
    assert (said if isinstance(said, str) else said["drop"]) == gives


def test_the_documentation_names_all_codes() -> None:
    text = (ROOT / "docs" / "websocket.md").read_text(encoding="utf-8")
    assert [code for code in Refusal if f"`{code}`" not in text] == []

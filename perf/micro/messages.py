"""How long the judgement of one message takes, by protocol, and by the number of rules.

Run: python -m perf.micro.messages
"""

from typing import Any

from perf.micro.decide import measure
from sidecar.relay.gate import ALLOW, Direction, Kind, Verdict
from sidecar.relay.message.gate import MessageGate
from tests.cases.messages.world import gate_of

QUERY = "subscription OnOrder($id: ID!) { order(id: $id) { id total } }"
DIGEST = "2239f97287acd3b4927b9d382ffe8327fe5625e3966610cd074605e954d9abd0"
FIELDS = {"permission": "orders:read", "resource": "orders/{order}"}
SCHEMA = {
    "type": "object",
    "required": ["type", "order"],
    "additionalProperties": False,
    "properties": {
        "type": {"const": "orders.read"},
        "order": {
            "type": "object",
            "required": ["id"],
            "additionalProperties": False,
            "properties": {"id": {"type": "integer", "minimum": 0}},
        },
        "at": {"type": "string", "format": "date-time"},
        "note": {"type": "string", "maxLength": 200, "pattern": "^[a-z ]*$"},
        "lines": {"type": "array", "maxItems": 20, "items": {"type": "integer"}},
    },
}
# So many messages, each about another of a hundred orders: more than a gate remembers is the rest.
ORDERS = 100


def settings(protocol: str, rule: dict[str, Any], rules: int) -> dict[str, Any]:
    """Settings with `rules` rules, of which the last is about our messages."""
    others: list[dict[str, Any]] = [
        {"type": rule["type"], "topic": f"/other/{number}", "access": "route"}
        if protocol == "stomp"
        else {"type": f"other{number}", "access": "route"}
        for number in range(rules - 1)
    ]
    return {"messages": {"protocol": protocol, "refused": "close", "rules": [*others, rule]}}


def messages() -> dict[str, tuple[dict[str, Any], str, list[bytes]]]:
    """By protocol: the rule, the name of the protocol, messages."""
    numbers = range(ORDERS)
    rest = '"at": "2026-11-23T10:00:00Z", "note": "as agreed on the phone", "lines": [1, 2, 3]'
    return {
        "json": (
            {"type": "orders.read", "fields": {"order": "/order/id"}, **FIELDS},
            "json",
            [
                f'{{"type": "orders.read", "order": {{"id": {at}}}, {rest}}}'.encode()
                for at in numbers
            ],
        ),
        "json, with a schema": (
            {
                "type": "orders.read",
                "fields": {"order": "/order/id"},
                "schema": SCHEMA,
                **FIELDS,
            },
            "json",
            [
                f'{{"type": "orders.read", "order": {{"id": {at}}}, {rest}}}'.encode()
                for at in numbers
            ],
        ),
        "json-rpc": (
            {"type": "orders.read", "fields": {"order": "/params/id"}, **FIELDS},
            "json-rpc",
            [
                f'{{"jsonrpc": "2.0", "id": {at}, "method": "orders.read", "params": '
                f'{{"id": {at}, {rest}}}}}'.encode()
                for at in numbers
            ],
        ),
        "json-rpc, batch of 10": (
            {"type": "orders.read", "fields": {"order": "/params/id"}, **FIELDS},
            "json-rpc",
            [
                b"["
                + b",".join(
                    f'{{"jsonrpc": "2.0", "id": {at + each}, "method": "orders.read", "params": '
                    f'{{"id": {at + each}}}}}'.encode()
                    for each in range(10)
                )
                + b"]"
                for at in range(ORDERS - 10)
            ],
        ),
        "stomp": (
            {"type": "SEND", "topic": "/app/orders/{order}", **FIELDS},
            "stomp",
            [
                f"SEND\ndestination:/app/orders/{at}\ncontent-type:application/json\n"
                f"content-length:{len(rest)}\n\n{rest}\0".encode()
                for at in numbers
            ],
        ),
        "graphql": (
            {
                "type": "subscribe",
                "topic": "OnOrder",
                "documents": [DIGEST],
                "fields": {"order": "/payload/variables/id"},
                **FIELDS,
            },
            "graphql-transport-ws",
            [
                f'{{"id": "{at}", "type": "subscribe", "payload": {{"operationName": "OnOrder", '
                f'"variables": {{"id": "{at}"}}, "query": "{QUERY}"}}}}'.encode()
                for at in numbers
            ],
        ),
    }


def judging(gate: MessageGate, payloads: list[bytes]) -> Any:
    """Judge one after the other."""
    at = 0

    def judge() -> Verdict:
        nonlocal at
        at = (at + 1) % len(payloads)
        return gate.judge(Direction.CLIENT, Kind.TEXT, payloads[at])

    assert all(judge() is ALLOW for _ in payloads)
    return judge


def main() -> None:
    """Prints microseconds for a message."""
    print(f"{'protocol':<24}{'bytes':>6}{'rules':>6}{'p50 us':>9}{'p99 us':>9}")
    for name, (rule, protocol, payloads) in messages().items():
        for rules in (1,) if protocol == "graphql-transport-ws" else (1, 100):
            gate = gate_of(settings(protocol, rule, rules), ["allow orders:*"])
            p50, p99 = measure(judging(gate, payloads))
            print(f"{name:<24}{len(payloads[0]):>6}{rules:>6}{p50:9.1f}{p99:9.1f}")


if __name__ == "__main__":
    main()

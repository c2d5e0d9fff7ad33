import re

from sidecar.forward.identifiers import Identifiers
from sidecar.model.peer import Peer
from sidecar.parse.request import RequestReader, unread_head
from sidecar.settings.schema import Forwarded

STRANGER = Peer("192.0.2.1", "http", is_trusted=False)
PROXY = Peer("10.0.0.1", "http", is_trusted=True)


def request_id(peer: Peer, *fields: str) -> bytes:
    raw = "\r\n".join(("GET / HTTP/1.1", "Host: h", *fields, "", "")).encode("latin-1")
    head = RequestReader(target_bytes=100, most_fields=10).read(raw)
    return Identifiers(Forwarded()).request_id(head, peer)  # type: ignore[arg-type]  # a valid head


def test_ids_are_unique() -> None:
    identifiers = Identifiers(Forwarded())
    ids = {identifiers.request_id(unread_head(), STRANGER) for _ in range(1000)}
    assert len(ids) == 1000


def test_only_a_trusted_proxy_gives_an_id() -> None:
    assert request_id(STRANGER, "X-Request-Id: theirs") != b"theirs"
    assert request_id(PROXY, "X-Request-Id: theirs") == b"theirs"


def test_ids_that_could_forge_a_line_or_are_ambiguous_are_replaced() -> None:
    for fields in (
        ("X-Request-Id: a b",),
        ("X-Request-Id: \xe9",),
        ("X-Request-Id: " + "a" * 129,),
        ("X-Request-Id: one", "X-Request-Id: two"),
    ):
        assert re.fullmatch(rb"[0-9a-f]{24}", request_id(PROXY, *fields))

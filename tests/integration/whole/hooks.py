"""A hook as operators write them."""

from collections.abc import Iterable

from sidecar.relay.message.call import Call


def read(direction: str, is_text: bool, payload: bytes) -> Iterable[Call]:
    """``MAKE 17`` -> a call about 17."""
    assert (direction, is_text) == ("client", True)
    if payload == b"raise":
        raise KeyError(payload)
    verb, *names = payload.decode("ascii").split(" ")
    yield Call(verb, fields=names, id=7)

"""A hook that takes any message for a call, so that a route reads all and refuses none."""

from collections.abc import Iterable

from sidecar.relay.message.call import Call


def read(_direction: str, _is_text: bool, _payload: bytes) -> Iterable[Call]:
    """One call of type ``any``."""
    return (Call("any"),)

"""Credentials where only a WebSocket handshake has them: subprotocols and the query.

Browsers let pages set no fields there (WHATWG WebSockets). Whatever was a credential is taken out
of what goes upstream, whether it counted or not.
"""

from typing import Final
from urllib.parse import unquote_to_bytes

BEARER_SUBPROTOCOL: Final = b"sidecar.bearer."


def is_credential(subprotocol: bytes) -> bool:
    """Whether a subprotocol that is offered is a credential of ours."""
    return subprotocol.startswith(BEARER_SUBPROTOCOL)


def bearers(subprotocols: tuple[bytes, ...]) -> list[bytes]:
    """The credentials among `subprotocols`."""
    return [each.removeprefix(BEARER_SUBPROTOCOL) for each in subprotocols if is_credential(each)]


def query_values(target: bytes, name: bytes) -> list[bytes]:
    """The values of the parameter `name` in the query of `target`, percent-decoded."""
    _, mark, query = target.partition(b"?")
    found: list[bytes] = []
    if not mark:
        return found
    for pair in query.split(b"&"):
        key, _, value = pair.partition(b"=")
        if unquote_to_bytes(key) == name:
            found.append(unquote_to_bytes(value))
    return found


def without_parameters(target: bytes, names: frozenset[bytes]) -> bytes:
    """`target` without those parameters; what is left is as it was."""
    path, mark, query = target.partition(b"?")
    if not mark or not names:
        return target
    pairs = query.split(b"&")
    kept = [pair for pair in pairs if unquote_to_bytes(pair.partition(b"=")[0]) not in names]
    if len(kept) == len(pairs):
        return target
    return path + b"?" + b"&".join(kept) if kept else path

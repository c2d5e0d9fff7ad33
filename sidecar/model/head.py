"""A request head as it was read: one reading, no interpretation left open."""

from typing import Final

# (name in lower case, name as received, value): bytes, as they stood in the message.
Field = tuple[bytes, bytes, bytes]

NO_FIELDS: Final[dict[bytes, list[bytes]]] = {}


class RequestHead:
    """The head of one HTTP/1.x request.

    Not a dataclass: one is made for each request, and plain slots are a third of the price.

    Attributes:
        method: the method, upper case as received (``"GET"``).
        target: the origin-form target that is forwarded: canonical path, then ``?query``.
        path: the canonical path of `target`, percent-encoded where it has to be. What is
            authorized is this, and it is, byte for byte, what is forwarded.
        host: the authority without port, lower case; ``""`` for HTTP/1.0 without Host.
        authority: Host as it is forwarded (with the port, lower case).
        minor: the minor version: 0 or 1 (HTTP/1.0, HTTP/1.1).
        fields: all fields in the order of arrival.
        first: lower-case name -> first value. One dict look-up replaces a scan.
        repeated: lower-case name -> all values, for names that came more than once.
        body_length: announced length in bytes; 0 for no body; None for chunked.
        keep_alive: whether the client would reuse the connection.
        expects_continue: whether it waits for ``100 Continue``.
        upgrade: whether it is a valid WebSocket upgrade.
    """

    __slots__ = (
        "authority",
        "body_length",
        "expects_continue",
        "fields",
        "first",
        "host",
        "keep_alive",
        "method",
        "minor",
        "path",
        "repeated",
        "target",
        "upgrade",
    )

    method: str
    target: bytes
    path: str
    host: str
    authority: bytes
    minor: int
    fields: list[Field]
    first: dict[bytes, bytes]
    repeated: dict[bytes, list[bytes]]
    body_length: int | None
    keep_alive: bool
    expects_continue: bool
    upgrade: bool

    def values(self, name: bytes) -> list[bytes]:
        """All values of the field `name` (lower case), in order; empty when it is absent."""
        several = self.repeated.get(name)
        if several is not None:
            return several
        value = self.first.get(name)
        return [] if value is None else [value]

    def __repr__(self) -> str:
        """Method and path only: fields hold credentials (PROMISES 12)."""
        return f"<RequestHead {self.method} {self.path}>"

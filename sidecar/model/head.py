"""A request head as it was read: one reading, no interpretation left open."""

from typing import Final

from sidecar.model.need import SessionNeed, TokenNeed

# (name in lower case, name as received, value): bytes, as they stood in the message.
Field = tuple[bytes, bytes, bytes]

NO_FIELDS: Final[dict[bytes, list[bytes]]] = {}


class Upgrade:
    """What a WebSocket handshake asks for (RFC 6455 section 4.1).

    Attributes:
        key: Sec-WebSocket-Key as received.
        subprotocols: that are offered, in order.
        extensions: that are offered: Sec-WebSocket-Extensions, all fields joined; ``b""`` for none.
        presented: the credential, where it stands in none of the fields: what a ticket stood for,
            or what was shown later on the open connection.
        ticket: whether a ticket stood for it.
    """

    __slots__ = ("extensions", "key", "presented", "subprotocols", "ticket")

    def __init__(
        self, key: bytes, subprotocols: tuple[bytes, ...] = (), extensions: bytes = b""
    ) -> None:
        self.key = key
        self.subprotocols = subprotocols
        self.extensions = extensions
        self.presented: SessionNeed | TokenNeed | None = None
        self.ticket = False


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
        upgrade: what a valid WebSocket handshake asks for; None for any other request.
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
    upgrade: Upgrade | None

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

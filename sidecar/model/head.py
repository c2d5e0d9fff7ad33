"""A head as it was read: one reading, no interpretation left open."""

from collections.abc import Iterable, Sequence
from typing import Final

from sidecar.model.need import SessionNeed, TokenNeed

# (name in lower case, name as received, value): bytes, as they stood in the message.
Field = tuple[bytes, bytes, bytes]

# Names that say how long a message is, and what becomes of its connection.
_OF_MESSAGE: Final = frozenset(
    (
        b"connection",
        b"content-length",
        b"expect",
        b"keep-alive",
        b"transfer-encoding",
        b"upgrade",
    )
)

# Memory of names: of the objects that hold them, of each name beside its octets (two objects, their
# places in tuples and in a dictionary), of each that came more than once.
_NAMES_BYTES: Final = 800
_NAME_BYTES: Final = 140
_REPEATED_BYTES: Final = 130


class FieldNames:
    """The names of a head's fields, in order.

    Clients of one kind send the same names again and again, so what follows from the names alone
    is found out once (`parse.collector` remembers them), and can be kept by their identity.

    Attributes:
        received: as they came.
        lower: the same in lower case.
        places: lower-case name -> place of its first field.
        repeated: lower-case name -> places of all its fields, for names that came more than once.
        of_message: those that say how long the message is, or what becomes of its connection.
        is_shared: whether other heads will have this very object.
    """

    __slots__ = ("is_shared", "lower", "of_message", "places", "received", "repeated")

    def __init__(self, received: tuple[bytes, ...], *, is_shared: bool = False) -> None:
        self.received: Final = received
        self.lower: Final = tuple(name.lower() for name in received)
        self.places: Final[dict[bytes, int]] = {}
        self.repeated: Final[dict[bytes, list[int]]] = {}
        self.is_shared: Final = is_shared
        for place, name in enumerate(self.lower):
            first = self.places.setdefault(name, place)
            if first != place:
                self.repeated.setdefault(name, [first]).append(place)
        self.of_message: Final = _OF_MESSAGE.intersection(self.places)

    @property
    def kept_bytes(self) -> int:
        """Memory that these take, rather more than less."""
        each = _NAME_BYTES * len(self.received) + _REPEATED_BYTES * len(self.repeated)
        return _NAMES_BYTES + each + 2 * sum(map(len, self.received))


class Fields:
    """The fields of a head: their names, and beside them their values. Part of the hot path.

    Attributes:
        names: of the fields, in order.
        contents: their values, without white space around them.
    """

    __slots__ = ("contents", "names")

    names: FieldNames
    contents: Sequence[bytes]

    def set_fields(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Take `fields`, (name, value) each, where no parser did."""
        pairs = list(fields)
        self.names = FieldNames(tuple(name for name, _ in pairs))
        self.contents = [value for _, value in pairs]

    def value(self, name: bytes) -> bytes | None:
        """The first value of the field `name` (lower case); None when it is absent."""
        place = self.names.places.get(name)
        return None if place is None else self.contents[place]

    def values(self, name: bytes) -> list[bytes]:
        """All values of the field `name` (lower case), in order; empty when it is absent."""
        several = self.names.repeated.get(name)
        if several is not None:
            return [self.contents[place] for place in several]
        value = self.value(name)
        return [] if value is None else [value]

    @property
    def fields(self) -> list[Field]:
        """All fields in order. Made when asked for."""
        return list(zip(self.names.lower, self.names.received, self.contents, strict=True))

    @property
    def first(self) -> dict[bytes, bytes]:
        """Lower-case name -> first value. Made when asked for."""
        return {name: self.contents[place] for name, place in self.names.places.items()}

    @property
    def repeated(self) -> dict[bytes, list[bytes]]:
        """Lower-case name -> all values, for names that came more than once."""
        return {name: self.values(name) for name in self.names.repeated}


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


class RequestHead(Fields):
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
        body_length: announced length in bytes; 0 for no body; None for chunked.
        keep_alive: whether the client would reuse the connection.
        expects_continue: whether it waits for ``100 Continue``.
        upgrade: what a valid WebSocket handshake asks for; None for any other request.
    """

    __slots__ = (
        "authority",
        "body_length",
        "expects_continue",
        "host",
        "keep_alive",
        "method",
        "minor",
        "path",
        "target",
        "upgrade",
    )

    method: str
    target: bytes
    path: str
    host: str
    authority: bytes
    minor: int
    body_length: int | None
    keep_alive: bool
    expects_continue: bool
    upgrade: Upgrade | None

    def __repr__(self) -> str:
        """Method and path only: fields hold credentials (PROMISES 12)."""
        return f"<RequestHead {self.method} {self.path}>"

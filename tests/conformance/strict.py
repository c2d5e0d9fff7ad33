"""A second, independent reader of HTTP/1.1, with no leniency at all.

Whatever our own parser thinks: what reaches an upstream must be readable in exactly one way. So
this reader knows the grammar's core only (RFC 9112) and calls everything else ambiguous; h11 has
to agree with it, byte for byte.
"""

import re
from dataclasses import dataclass
from typing import Final

import h11

_REQUEST_LINE: Final = re.compile(rb"([A-Z][A-Z-]*) (/[!-~]*) HTTP/1\.1")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 ([1-9][0-9]{2}) [\t -~]*")
_FIELD: Final = re.compile(
    rb"([A-Za-z0-9!#$%&'*+.^_`|~-]+): ?((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?)"
)
_FRAMING: Final = frozenset((b"transfer-encoding", b"content-length"))


class AmbiguousError(Exception):
    """The octets are not one message, plainly written."""


@dataclass(frozen=True)
class Message:
    """A request or response.

    Attributes:
        start: the start line's parts: (method, target) or (status,).
        fields: (lower-case name, value) in order.
        body: payload.
        octets: all of it, as it stood.
    """

    start: tuple[bytes, ...]
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    octets: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for each, value in self.fields if each == name]


def take_request(octets: bytes) -> tuple[Message, bytes] | None:
    """The first request and what follows it; None when it is not complete.

    Raises:
        AmbiguousError: it is anything but plain.
    """
    head = _take_head(octets, _REQUEST_LINE)
    if head is None:
        return None
    start, fields, rest = head
    framed = _take_body(fields, rest, without=0)
    return None if framed is None else _message(octets, start, fields, framed)


def take_response(octets: bytes, method: bytes) -> tuple[Message, bytes] | None:
    """The first response (to a request with `method`) and what follows it; None: not complete.

    Raises:
        AmbiguousError: it is anything but plain, or ends with the connection.
    """
    head = _take_head(octets, _STATUS_LINE)
    if head is None:
        return None
    start, fields, rest = head
    status = int(start[0])
    if method == b"HEAD" or status < 200 or status in {204, 304}:
        return _message(octets, start, fields, (b"", rest))
    framed = _take_body(fields, rest, without=None)
    return None if framed is None else _message(octets, start, fields, framed)


def _message(
    octets: bytes,
    start: tuple[bytes, ...],
    fields: tuple[tuple[bytes, bytes], ...],
    framed: tuple[bytes, bytes],
) -> tuple[Message, bytes]:
    body, rest = framed
    return Message(start, fields, body, octets[: len(octets) - len(rest)]), rest


def _take_head(
    octets: bytes, start_line: re.Pattern[bytes]
) -> tuple[tuple[bytes, ...], tuple[tuple[bytes, bytes], ...], bytes] | None:
    raw, end, rest = octets.partition(b"\r\n\r\n")
    if not end:
        return None
    first, *lines = raw.split(b"\r\n")
    start = start_line.fullmatch(first)
    if start is None:
        raise AmbiguousError(f"start line {first!r}")
    fields = []
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise AmbiguousError(f"field {line!r}")
        fields.append((found[1].lower(), found[2]))
    # Whatever a server might fold into a framing field counts as one (RFC 3875 section 4.1.18);
    # clients fold nothing.
    other = rb"[^a-z0-9]" if start_line is _REQUEST_LINE else rb"\A\Z"
    folded = [re.sub(other, b"-", name) for name, _ in fields]
    if sum(name in _FRAMING for name in folded) > 1:
        raise AmbiguousError(f"several framing fields in {raw!r}")
    return start.groups(), tuple(fields), rest


def _take_body(
    fields: tuple[tuple[bytes, bytes], ...], rest: bytes, *, without: int | None
) -> tuple[bytes, bytes] | None:
    named = dict(fields)
    if b"transfer-encoding" in named:
        if named[b"transfer-encoding"] != b"chunked":
            raise AmbiguousError(f"Transfer-Encoding {named[b'transfer-encoding']!r}")
        return _take_chunks(rest)
    if b"content-length" not in named:
        if without is None:
            raise AmbiguousError("no length")
        return b"", rest
    if re.fullmatch(rb"0|[1-9][0-9]*", named[b"content-length"]) is None:
        raise AmbiguousError(f"Content-Length {named[b'content-length']!r}")
    length = int(named[b"content-length"])
    return None if len(rest) < length else (rest[:length], rest[length:])


def _take_chunks(rest: bytes) -> tuple[bytes, bytes] | None:
    """Chunks without extensions, and no trailers: we write neither."""
    payload = b""
    while True:
        line, end, after = rest.partition(b"\r\n")
        if not end:
            return None
        if re.fullmatch(rb"0|[1-9a-f][0-9a-f]*", line) is None:
            raise AmbiguousError(f"chunk line {line!r}")
        size = int(line, 16)
        if len(after) < size + 2:
            return None
        if after[size : size + 2] != b"\r\n":
            raise AmbiguousError("no CRLF after a chunk")
        if size == 0:
            return payload, after[2:]
        payload += after[:size]
        rest = after[size + 2 :]


def h11_agrees(message: Message) -> bool:
    """Whether h11 reads the octets of a request as exactly the same request."""
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(message.octets)
    body = b""
    try:
        request = reader.next_event()
        while isinstance(event := reader.next_event(), h11.Data):
            body += bytes(event.data)
    except h11.RemoteProtocolError:
        return False
    return (
        isinstance(request, h11.Request)
        and isinstance(event, h11.EndOfMessage)
        and (request.method, request.target) == message.start
        and [(bytes(name), bytes(value)) for name, value in request.headers] == list(message.fields)
        and not list(event.headers)
        and body == message.body
        and reader.trailing_data[0] == b""
    )


def differs_from_h11(octets: bytes, message: Message) -> list[str]:
    """In what h11 reads the first request in `octets` unlike `message`; nothing where it refuses.

    The upstream's request differs from the client's in what we write; method, body and the query
    are the client's.
    """
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(octets)
    body = b""
    try:
        request = reader.next_event()
        if not isinstance(request, h11.Request):
            return [f"h11 has no request: {request!r}"]
        while isinstance(event := reader.next_event(), h11.Data):
            body += bytes(event.data)
    except h11.RemoteProtocolError:
        return []
    faults = []
    if not isinstance(event, h11.EndOfMessage):
        faults.append("h11 waits for more of the body")
    if request.method != message.start[0]:
        faults.append(f"h11 reads method {request.method!r}")
    if body != message.body:
        faults.append(f"h11 reads body {body!r}, the upstream {message.body!r}")
    if request.target.partition(b"?")[2] != message.start[1].partition(b"?")[2]:
        faults.append(f"h11 reads target {request.target!r}, the upstream {message.start[1]!r}")
    return faults

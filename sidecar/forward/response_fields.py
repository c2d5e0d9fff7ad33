"""The response head as it goes to the client. Hot path; see `request_fields`."""

from http import HTTPStatus
from typing import Final

from sidecar.cache.memo import Memo
from sidecar.forward.in_process import IN_PROCESS
from sidecar.forward.lines import MOST_BYTES, PLAIN_CONNECTION, Lines, Usual, remember
from sidecar.model.head import FieldNames, RequestHead
from sidecar.model.route import Route
from sidecar.parse.fields import HOP_BY_HOP, tokens
from sidecar.parse.framing import UNTIL_CLOSE
from sidecar.parse.response import ResponseHead
from sidecar.route.cors import FIELDS as CORS_FIELDS

# What the fields of an answer that go on depend on: their names, what Connection names, where our
# cookie is, whether the route has a policy for pages of other sites, whether the answer is our own.
_Kind = tuple[FieldNames, bytes, tuple[int, ...], bool, bool]
# The same where no value changes it.
_UsualKind = tuple[FieldNames, bool, bool]
_NOWHERE: Final[tuple[int, ...]] = ()
# A Connection longer than that is not worth to be remembered.
_LONGEST_CONNECTION: Final = 256
# Reason phrases are ours: an upstream's may hold anything (RFC 9112 section 4).
_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


def status_line(status: int) -> bytes:
    """The status line, with our own reason phrase."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


class ResponseFields:
    """Writes response heads for the client.

    Args:
        request_id: name of the request id's field.
        cookie: name of our session cookie: the upstream may not set it; ``""`` for none.
    """

    def __init__(self, request_id: str, cookie: str) -> None:
        self._request_id = request_id.encode() + b": "
        self._dropped = HOP_BY_HOP | {request_id.lower().encode()}
        self._dropped_with_cors = self._dropped | CORS_FIELDS
        self._cookie = cookie.encode()
        self._lines = Memo[_Kind, Lines](MOST_BYTES)
        self._usual = Memo[_UsualKind, Usual](MOST_BYTES)

    def compose(
        self,
        answer: ResponseHead,
        head: RequestHead,
        length: int | None,
        request_id: bytes,
        *,
        keep_alive: bool,
        route: Route | None = None,
        fields: bytes = b"",
    ) -> bytes:
        """The whole head, with its empty line.

        Args:
            answer: what the upstream sent.
            head: the request it answers.
            length: of the body as the client gets it: bytes, None for chunked, or UNTIL_CLOSE.
            request_id: id of the exchange.
            keep_alive: whether the connection stays open afterwards.
            route: the route. Our own endpoints set our cookie; where it has a policy for pages of
                other sites, the application's own is dropped.
            fields: more fields, each ended by CRLF.
        """
        names, contents = answer.names, answer.contents
        has_cors = route is not None and route.cors is not None
        is_inner = route is not None and route.upstream == IN_PROCESS
        kind = (names, has_cors, is_inner)
        usual = self._usual.get(kind) or self._find_usual(kind)
        lines = usual.lines
        if (
            names.repeated
            or (usual.connection >= 0 and contents[usual.connection] not in PLAIN_CONNECTION)
            or (usual.cookie >= 0 and self._cookie in contents[usual.cookie])
        ):
            lines = self._find_unusual(answer, kind)
        status = answer.status
        parts = [
            _STATUS_LINES.get(status) or status_line(status),
            lines.pattern % lines.pick(contents),
        ]
        if length is not None and length > 0:
            # There is a body, so this is no answer that has none.
            parts.append(b"Content-Length: %d\r\n" % length)
        else:
            _append_framing(parts, answer, head, length)
        if not keep_alive:
            parts.append(b"Connection: close\r\n")
        elif head.minor == 0:
            parts.append(b"Connection: keep-alive\r\n")
        parts += (fields, self._request_id, request_id, b"\r\n\r\n")
        return b"".join(parts)

    def _find_usual(self, kind: _UsualKind) -> Usual:
        names, has_cors, is_inner = kind
        connection, cookie = names.places.get(b"connection", -1), -1
        if self._cookie and not is_inner:
            cookie = names.places.get(b"set-cookie", -1)
        lines = self._choose((names, b"", _NOWHERE, has_cors, is_inner))
        usual = Usual(lines, connection, cookie)
        return remember(self._usual, kind, usual, names, lines)

    def _find_unusual(self, answer: ResponseHead, kind: _UsualKind) -> Lines:
        """The lines, where values may change which go on."""
        names, has_cors, is_inner = kind
        connection, ours = b"", _NOWHERE
        if b"connection" in names.places:
            connection = b",".join(answer.values(b"connection"))
        if self._cookie and b"set-cookie" in names.places and not is_inner:
            ours = self._places_of_our_cookie(answer)
        of_values = (names, connection, ours, has_cors, is_inner)
        return self._lines.get(of_values) or self._choose(of_values)

    def _choose(self, kind: _Kind) -> Lines:
        """The fields of heads of this kind that go on. All rules about names are here."""
        names, connection, ours, has_cors, is_inner = kind
        dropped = self._dropped_with_cors if has_cors else self._dropped
        if connection:
            dropped = dropped.union(tokens([connection]))
        if is_inner:
            dropped = dropped.union((b"server",))
        places = range(len(names.lower))
        going = [place for place in places if names.lower[place] not in dropped]
        lines = Lines(names, [place for place in going if place not in ours])
        if len(connection) > _LONGEST_CONNECTION:
            return lines
        return remember(self._lines, kind, lines, names, lines)

    def _places_of_our_cookie(self, answer: ResponseHead) -> tuple[int, ...]:
        """Places of fields by which the upstream would set it."""
        names, contents = answer.names, answer.contents
        places = names.repeated.get(b"set-cookie") or [names.places[b"set-cookie"]]
        return tuple([place for place in places if self._is_our_cookie(contents[place])])

    def interim(self, answer: ResponseHead) -> bytes:
        """A 1xx head: only its own fields, no framing (RFC 9110 section 15.2)."""
        parts = [status_line(answer.status)]
        for lower, name, value in answer.fields:
            if lower not in self._dropped and lower != b"set-cookie":
                parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)

    def switching(self, answer: ResponseHead, request_id: bytes, *, fields: bytes) -> bytes:
        """The head of a 101: `fields` are the handshake's, and all others go on.

        Args:
            answer: what the upstream sent.
            request_id: id of the exchange.
            fields: more fields, each ended by CRLF.
        """
        parts = [status_line(101)]
        dropped = self._dropped.union(tokens(answer.values(b"connection")))
        for lower, name, value in answer.fields:
            if lower in dropped or lower.startswith(b"sec-websocket-"):
                continue
            if lower == b"set-cookie" and self._is_our_cookie(value):
                continue
            parts += (name, b": ", value, b"\r\n")
        parts += (fields, self._request_id, request_id, b"\r\n\r\n")
        return b"".join(parts)

    def _is_our_cookie(self, value: bytes) -> bool:
        # Browsers send the value of a cookie without a name as if it were "name=value".
        name = value.lstrip(b"= \t").partition(b"=")[0].rstrip(b" \t")
        return bool(self._cookie) and name == self._cookie


def _append_framing(
    parts: list[bytes], answer: ResponseHead, head: RequestHead, length: int | None
) -> None:
    if length is None:
        parts.append(b"Transfer-Encoding: chunked\r\n")
        return
    if head.method == "HEAD" or answer.status == 304:
        # The length a GET would have had (RFC 9110 section 8.6); there is no body to frame.
        announced = answer.value(b"content-length")
        if announced is not None:
            parts += (b"Content-Length: ", announced, b"\r\n")
    elif length != UNTIL_CLOSE and answer.status != 204:
        parts.append(b"Content-Length: %d\r\n" % length)

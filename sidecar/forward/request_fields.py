"""The request head as it goes upstream.

Part of the hot path: which fields go on is remembered for heads with the same names (`lines`).
Everything about a request that the upstream may believe is written here and nowhere else
(PROMISES 3).
"""

import re
from collections.abc import Sequence
from typing import Final

from sidecar.authorize.permit import Permit
from sidecar.cache.memo import Memo
from sidecar.forward.lines import MOST_BYTES, PLAIN_CONNECTION, Lines, Usual, remember
from sidecar.model.head import FieldNames, RequestHead
from sidecar.model.peer import Peer
from sidecar.parse.fields import HOP_BY_HOP, OVERRIDES, normal_name, tokens
from sidecar.settings.schema import Forwarded, Identity
from sidecar.telemetry.context import continues

_FORWARDED_FOR: Final = re.compile(rb"[0-9A-Za-z.:,\[\] _-]{1,1024}")
_FORWARDED_HOST: Final = re.compile(rb"[0-9A-Za-z.:\[\]_-]{1,255}")
# A Connection longer than that is not worth to be remembered.
_LONGEST_CONNECTION: Final = 256
# Fields between us and our own endpoints; nobody else may send one.
_INNER: Final = b"sidecar-"


# What proxies tell each other about the client: believed from trusted peers, from nobody else.
_HEARSAY: Final = frozenset(
    (
        b"cf-connecting-ip", b"client-ip", b"fastly-client-ip", b"forwarded-for",
        b"true-client-ip", b"x-client-ip", b"x-cluster-client-ip", b"x-host", b"x-original-for",
        b"x-original-host", b"x-originating-ip", b"x-remote-addr", b"x-remote-ip",
    )
)  # fmt: skip
# Fields that are meant for everybody: Connection cannot take them away (RFC 9110 section 7.6.1),
# least of all those that tell where a request comes from.
_END_TO_END: Final = frozenset(
    (
        b"content-encoding", b"content-type", b"cookie", b"origin", b"sec-fetch-dest",
        b"sec-fetch-mode", b"sec-fetch-site", b"sec-fetch-user",
    )
)  # fmt: skip


# What the fields of a head that go on depend on: their names, what Connection names, where nothing
# is left of a Cookie, whether the credential goes along, whether the peer is trusted.
_Kind = tuple[FieldNames, bytes, tuple[int, ...], bool, bool]
# The same where no value changes it.
_UsualKind = tuple[FieldNames, bool, bool]
_NOWHERE: Final[tuple[int, ...]] = ()


class RequestFields:
    """Writes request heads for the upstream.

    Args:
        identity: names of the fields that carry the principal; `None` leaves one out.
        forwarded: what is done about X-Forwarded-*, the trace context and the request id.
        cookie: name of our session cookie, which does not go upstream; ``""`` for none.
    """

    def __init__(self, identity: Identity, forwarded: Forwarded, cookie: str) -> None:
        written = [
            "Host", "Expect", "Forwarded", "X-Forwarded-For", "X-Forwarded-Proto",
            "X-Forwarded-Host", "X-Real-IP", "Traceparent", "Tracestate", forwarded.request_id,
            # CGI variables of the server itself, and httpoxy (CVE-2016-5385).
            "Remote-User", "X-Remote-User", "Remote-Addr", "Proxy",
            # Stripped even where no name is configured: applications know them by these.
            "X-Auth-User", "X-Auth-Tenant", "X-Auth-Roles",
            *filter(None, (identity.user, identity.tenant, identity.roles)),
        ]  # fmt: skip
        self._dropped = HOP_BY_HOP | OVERRIDES | {normal_name(name.encode()) for name in written}
        self._lines = Memo[_Kind, Lines](MOST_BYTES)
        self._usual = Memo[_UsualKind, Usual](MOST_BYTES)
        self._cookie = (
            re.compile(rb"(?:^|;)[ \t]*" + re.escape(cookie.encode()) + rb"[ \t]*=[^;]*")
            if cookie
            else None
        )
        self._cookie_name = cookie.encode()
        self._request_id = forwarded.request_id.encode() + b": "
        self._tells_trace = forwarded.traceparent != "off"

    def compose(
        self,
        head: RequestHead,
        permit: Permit,
        peer: Peer,
        *,
        identity: bytes,
        request_id: bytes,
        trace: bytes,
        host: bytes | None,
    ) -> bytes:
        """The whole head, with its empty line.

        Args:
            head: what the client sent; its path is the one that was authorized.
            permit: the proof that it was; its route says whether the credential goes along.
            peer: the client's connection.
            identity: the fields that say who is asking, each ended by CRLF.
            request_id: id of the exchange.
            trace: the traceparent; the client's tracestate goes along where that continues it.
            host: Host to send, or None for the client's.
        """
        names, contents = head.names, head.contents
        places = names.places
        kind = (names, permit.route.forward_credential, peer.is_trusted)
        usual = self._usual.get(kind) or self._find_usual(kind)
        lines = usual.lines
        if (
            names.repeated
            or (usual.connection >= 0 and contents[usual.connection] not in PLAIN_CONNECTION)
            or (usual.cookie >= 0 and self._may_be_ours(contents[usual.cookie]))
        ):
            lines, contents = self._find_unusual(head, kind)
        parts = [
            head.method.encode(),
            b" ",
            head.target,
            b" HTTP/1.1\r\nHost: ",
            head.authority if host is None else host,
            b"\r\n",
            lines.pattern % lines.pick(contents),
            identity,
        ]
        if head.body_length != 0 or b"content-length" in places:
            _append_framing(parts, head)
        if peer.is_trusted:
            _append_forwarded(parts, head, peer)
        elif head.authority:
            parts += (peer.forwarded, b"X-Forwarded-Host: ", head.authority, b"\r\n")
        else:
            parts.append(peer.forwarded)
        if self._tells_trace:
            parts += (b"Traceparent: ", trace, b"\r\n")
            if b"tracestate" in places and continues(trace, head):
                for state in head.values(b"tracestate"):
                    parts += (b"Tracestate: ", state, b"\r\n")
        parts += (self._request_id, request_id, b"\r\n\r\n")
        return b"".join(parts)

    def _find_usual(self, kind: _UsualKind) -> Usual:
        names, keeps_credential, is_trusted = kind
        connection, cookie = names.places.get(b"connection", -1), -1
        if self._cookie is not None and not keeps_credential:
            cookie = names.places.get(b"cookie", -1)
        lines = self._choose((names, b"", _NOWHERE, keeps_credential, is_trusted))
        usual = Usual(lines, connection, cookie)
        return remember(self._usual, kind, usual, names, lines)

    def _may_be_ours(self, cookie: bytes) -> bool:
        return not cookie or self._cookie_name in cookie

    def _find_unusual(self, head: RequestHead, kind: _UsualKind) -> tuple[Lines, Sequence[bytes]]:
        """The lines, and the values, where these may change which go on."""
        names, keeps_credential, is_trusted = kind
        named, contents, emptied = b"", head.contents, _NOWHERE
        if b"connection" in names.places:
            named = _named_by_connection(head)
        if self._cookie is not None and b"cookie" in names.places and not keeps_credential:
            contents, emptied = self._without_our_cookie(head)
        of_values = (names, named, emptied, keeps_credential, is_trusted)
        return self._lines.get(of_values) or self._choose(of_values), contents

    def _choose(self, kind: _Kind) -> Lines:
        """The fields of heads of this kind that go on. All rules about names are here."""
        names, connection, emptied, keeps_credential, is_trusted = kind
        named = {normal_name(name) for name in tokens([connection])} - _END_TO_END
        going = []
        for place, lower in enumerate(names.lower):
            folded = normal_name(lower)
            if folded in self._dropped or folded.startswith(_INNER) or folded in named:
                continue
            if folded.startswith(b"x-forwarded") or folded in _HEARSAY:
                if not is_trusted:
                    continue
            elif folded == b"authorization":
                if not keeps_credential:
                    continue
            elif place in emptied:
                continue
            going.append(place)
        lines = Lines(names, going)
        if len(connection) > _LONGEST_CONNECTION:
            return lines
        return remember(self._lines, kind, lines, names, lines)

    def _without_our_cookie(self, head: RequestHead) -> tuple[Sequence[bytes], tuple[int, ...]]:
        """The values of all fields, and the places of those Cookies of which nothing is left."""
        contents, emptied = head.contents, _NOWHERE
        for place in head.names.repeated.get(b"cookie") or (head.names.places[b"cookie"],):
            value = contents[place]
            if self._cookie is None or not self._may_be_ours(value):
                continue
            rest = self._cookie.sub(b"", value).lstrip(b"; \t")
            contents = (*contents[:place], rest, *contents[place + 1 :])
            if not rest:
                emptied = (*emptied, place)
        return contents, emptied


def _named_by_connection(head: RequestHead) -> bytes:
    """What Connection says, where that may be the names of fields (RFC 9110 section 7.6.1)."""
    if b"connection" not in head.names.repeated:
        value = head.value(b"connection")
        if value in PLAIN_CONNECTION:
            return b""
    return b",".join(head.values(b"connection"))


def _append_framing(parts: list[bytes], head: RequestHead) -> None:
    if head.body_length is None:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    elif head.body_length or b"content-length" in head.names.places:
        parts.append(b"Content-Length: %d\r\n" % head.body_length)
    if head.expects_continue:
        parts.append(b"Expect: 100-continue\r\n")


def _append_forwarded(parts: list[bytes], head: RequestHead, peer: Peer) -> None:
    """Keep what a trusted proxy says and add its own address, where that is well formed."""
    path = b", ".join(head.values(b"x-forwarded-for"))
    address = peer.address.encode()
    if _FORWARDED_FOR.fullmatch(path):
        address = path + b", " + address
    scheme = (head.value(b"x-forwarded-proto") or b"").lower()
    if scheme not in {b"http", b"https", b"ws", b"wss"}:
        scheme = peer.scheme.encode()
    host = head.value(b"x-forwarded-host") or b""
    if not _FORWARDED_HOST.fullmatch(host):
        host = head.authority
    parts += (b"X-Forwarded-For: ", address, b"\r\nX-Forwarded-Proto: ", scheme, b"\r\n")
    if host:
        parts += (b"X-Forwarded-Host: ", host, b"\r\n")

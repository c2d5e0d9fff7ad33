"""The request head as it goes upstream.

Part of the hot path: plain loops, a remembered verdict for each field name, one join. Everything
about a request that the upstream may believe is written here and nowhere else (PROMISES 3).
"""

import re
from enum import IntEnum
from typing import Final

from sidecar.authorize.permit import Permit
from sidecar.model.head import RequestHead
from sidecar.model.peer import Peer
from sidecar.parse.fields import HOP_BY_HOP, OVERRIDES, normal_name, tokens
from sidecar.settings.schema import Forwarded, Identity

_TRACEPARENT: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_FORWARDED_FOR: Final = re.compile(rb"[0-9A-Za-z.:,\[\] _-]{1,1024}")
_FORWARDED_HOST: Final = re.compile(rb"[0-9A-Za-z.:\[\]_-]{1,255}")
_MOST_REMEMBERED: Final = 4096
# Fields between us and our own endpoints; nobody else may send one.
_INNER: Final = b"sidecar-"
_PLAIN_CONNECTION: Final = frozenset((b"keep-alive", b"close", b"Keep-Alive"))


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


class _Verdict(IntEnum):
    KEEP = 0
    DROP = 1
    CREDENTIAL = 2
    COOKIE = 3
    HEARSAY = 4


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
            "X-Forwarded-Host", "X-Real-IP", "Traceparent", forwarded.request_id,
            # CGI variables of the server itself, and httpoxy (CVE-2016-5385).
            "Remote-User", "X-Remote-User", "Remote-Addr", "Proxy",
            # Stripped even where no name is configured: applications know them by these.
            "X-Auth-User", "X-Auth-Tenant", "X-Auth-Roles",
            *filter(None, (identity.user, identity.tenant, identity.roles)),
        ]  # fmt: skip
        if forwarded.traceparent == "off":
            written.append("Tracestate")
        self._dropped = HOP_BY_HOP | OVERRIDES | {normal_name(name.encode()) for name in written}
        self._verdicts: dict[bytes, _Verdict] = {}
        self._cookie = (
            re.compile(rb"(?:^|;)[ \t]*" + re.escape(cookie.encode()) + rb"[ \t]*=[^;]*")
            if cookie
            else None
        )
        self._cookie_name = cookie.encode()
        self._request_id = forwarded.request_id.encode()
        self._traceparent = forwarded.traceparent

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
            trace: a traceparent to use where the client's is absent or not to be kept.
            host: Host to send, or None for the client's.
        """
        parts = [head.method.encode(), b" ", head.target, b" HTTP/1.1\r\nHost: "]
        parts.append(head.authority if host is None else host)
        parts.append(b"\r\n")
        verdicts = self._verdicts
        keep_credential = permit.route.forward_credential
        for lower, name, value in self._fields_of(head):
            verdict = verdicts.get(lower)
            if verdict is None:
                verdict = self._judge(lower)
            if verdict:
                if verdict is _Verdict.DROP:
                    continue
                if verdict is _Verdict.HEARSAY:
                    if not peer.is_trusted:
                        continue
                elif not keep_credential:
                    if verdict is _Verdict.CREDENTIAL:
                        continue
                    value = self._without_our_cookie(value)  # noqa: PLW2901 - the rest of the cookies
                    if not value:
                        continue
            parts += (name, b": ", value, b"\r\n")
        parts.append(identity)
        if head.body_length is None:
            parts.append(b"Transfer-Encoding: chunked\r\n")
        elif head.body_length or b"content-length" in head.first:
            parts.append(b"Content-Length: %d\r\n" % head.body_length)
        if head.expects_continue:
            parts.append(b"Expect: 100-continue\r\n")
        if peer.is_trusted:
            self._append_forwarded(parts, head, peer)
        else:
            parts.append(peer.forwarded)
            if head.authority:
                parts += (b"X-Forwarded-Host: ", head.authority, b"\r\n")
        self._append_trace(parts, head, trace)
        parts += (self._request_id, b": ", request_id, b"\r\n\r\n")
        return b"".join(parts)

    def _judge(self, lower: bytes) -> _Verdict:
        folded = normal_name(lower)
        if folded in self._dropped or folded.startswith(_INNER):
            verdict = _Verdict.DROP
        elif folded.startswith(b"x-forwarded") or folded in _HEARSAY:
            verdict = _Verdict.HEARSAY
        elif folded == b"authorization":
            verdict = _Verdict.CREDENTIAL
        elif folded == b"cookie" and self._cookie is not None:
            verdict = _Verdict.COOKIE
        else:
            verdict = _Verdict.KEEP
        if len(self._verdicts) < _MOST_REMEMBERED:
            self._verdicts[lower] = verdict
        return verdict

    def _fields_of(self, head: RequestHead) -> list[tuple[bytes, bytes, bytes]]:
        """All fields but those that Connection names (RFC 9110 section 7.6.1)."""
        connection = head.first.get(b"connection")
        if connection is None or (
            connection in _PLAIN_CONNECTION and b"connection" not in head.repeated
        ):
            return head.fields
        named = {normal_name(name) for name in tokens(head.values(b"connection"))} - _END_TO_END
        return [field for field in head.fields if normal_name(field[0]) not in named]

    def _without_our_cookie(self, value: bytes) -> bytes:
        if self._cookie is None or self._cookie_name not in value:
            return value
        return self._cookie.sub(b"", value).lstrip(b"; \t")

    @staticmethod
    def _append_forwarded(parts: list[bytes], head: RequestHead, peer: Peer) -> None:
        """Keep what a trusted proxy says and add its own address, where that is well formed."""
        path = b", ".join(head.values(b"x-forwarded-for"))
        address = peer.address.encode()
        if _FORWARDED_FOR.fullmatch(path):
            address = path + b", " + address
        scheme = head.first.get(b"x-forwarded-proto", b"").lower()
        if scheme not in {b"http", b"https", b"ws", b"wss"}:
            scheme = peer.scheme.encode()
        host = head.first.get(b"x-forwarded-host", b"")
        if not _FORWARDED_HOST.fullmatch(host):
            host = head.authority
        parts += (b"X-Forwarded-For: ", address, b"\r\nX-Forwarded-Proto: ", scheme, b"\r\n")
        if host:
            parts += (b"X-Forwarded-Host: ", host, b"\r\n")

    def _append_trace(self, parts: list[bytes], head: RequestHead, trace: bytes) -> None:
        if self._traceparent == "off":
            return
        if self._traceparent == "keep" and b"traceparent" not in head.repeated:
            received = head.first.get(b"traceparent")
            if received is not None and _TRACEPARENT.fullmatch(received):
                trace = received
        parts += (b"Traceparent: ", trace, b"\r\n")

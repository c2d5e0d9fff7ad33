"""The bytes of one request head -> `RequestHead`, or a `Denial`.

llhttp (through httptools) judges the syntax of fields; the start line, the target, the host and
the framing are judged by us, because llhttp accepts more there than has one reading. It is fed
exactly one head and then made anew in place, which is cheaper than a new object.
"""

import re
from typing import Final

import httptools

from sidecar.model.decision import Denial
from sidecar.model.head import NO_FIELDS, RequestHead
from sidecar.model.reason import Reason
from sidecar.parse.collector import FieldCollector
from sidecar.parse.fields import SINGLE, tokens
from sidecar.parse.framing import request_length
from sidecar.parse.host import read_authority
from sidecar.parse.target import read_target
from sidecar.parse.upgrade import read_upgrade

# RFC 9112 section 3, with single spaces and nothing lenient. The target is judged later.
_START_LINE: Final = re.compile(
    rb"([A-Z][A-Z-]{0,31}) ([^ \t\x00-\x1f\x7f-\xff]+) HTTP/(\d)\.(\d)\r\n"
)
# CONNECT would be a tunnel, TRACE would echo credentials (RFC 9110 sections 9.3.6 and 9.3.8).
_REFUSED_METHODS: Final = frozenset((b"CONNECT", b"TRACE"))
# Bytes beyond which fields are counted before they are read.
_LONG_HEAD: Final = 4096
_DECODED: Final[dict[bytes, str]] = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}


class RequestReader(FieldCollector):
    """Reads heads, one after the other. One for each process: it keeps nothing between two heads.

    Args:
        target_bytes: longest target.
        most_fields: most fields.
    """

    def __init__(self, *, target_bytes: int, most_fields: int) -> None:
        super().__init__()
        self._target_bytes = target_bytes
        self._most_fields = most_fields
        self._parser = httptools.HttpRequestParser(self)
        # Made anew in place for each head (0.7 µs), also after an error.
        self._renew = self._parser.__init__  # type: ignore[misc]  # the class is final in C

    def read(self, raw: bytes) -> RequestHead | Denial:
        """Read `raw`: one head, from its start line to the empty line, both included."""
        start = _START_LINE.match(raw)
        if start is None:
            return self._bad_start_line(raw)
        method, target, major, minor = start.groups()
        if major != b"1" or minor not in b"01":
            return Denial(Reason.UNSUPPORTED_VERSION, "only HTTP/1.0 and HTTP/1.1 are spoken here")
        if method in _REFUSED_METHODS:
            return Denial(Reason.UNSUPPORTED_METHOD, f"{method.decode()} is not supported")
        if len(target) > self._target_bytes:
            return Denial(Reason.TARGET_TOO_LONG, f"the target has {len(target)} bytes")
        if len(raw) > _LONG_HEAD and raw.count(b"\n") > self._most_fields + 2:
            # Counted before they are read: thousands of empty fields cost little to send.
            return Denial(Reason.HEAD_TOO_LARGE, "too many fields")
        refusal = self._read_fields(raw)
        if refusal is not None:
            return refusal
        return self._compose(method, target, 1 if minor == b"1" else 0)

    @staticmethod
    def _bad_start_line(raw: bytes) -> Denial:
        if raw.startswith(b"PRI * HTTP/2.0\r\n"):
            return Denial(Reason.UNSUPPORTED_VERSION, "HTTP/2 without TLS is not spoken here")
        return Denial(Reason.MALFORMED_REQUEST, "the request line is malformed")

    def _read_fields(self, raw: bytes) -> Denial | None:
        self._clear()
        self._renew(self)
        try:
            self._parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            pass  # llhttp's word for "Upgrade was asked for"; `read_upgrade` judges that
        except httptools.HttpParserInvalidMethodError:
            return Denial(Reason.UNSUPPORTED_METHOD, "the method is not known")
        except httptools.HttpParserError as error:
            if b"transfer-encoding" in self._first or b"content-length" in self._first:
                # Told by llhttp before we look ourselves; the reason is the same.
                return Denial(Reason.AMBIGUOUS_FRAMING, str(error))
            return Denial(Reason.MALFORMED_FIELD, str(error))
        if len(self._fields) > self._most_fields:
            return Denial(Reason.HEAD_TOO_LARGE, f"{len(self._fields)} fields")
        return None

    def _compose(self, method: bytes, raw_target: bytes, minor: int) -> RequestHead | Denial:
        first = self._first
        repeated = self._repeated
        if repeated:
            for name in SINGLE:
                if name in repeated:
                    reason = Reason.MALFORMED_HOST if name == b"host" else Reason.AMBIGUOUS_FRAMING
                    return Denial(reason, f"several {name.decode()} fields")
        target = read_target(raw_target)
        if isinstance(target, Denial):
            return target
        head = RequestHead()
        head.method = _DECODED.get(method) or method.decode("ascii")
        head.minor = minor
        head.path = target.path
        head.target = target.target
        head.fields = self._fields
        head.first = first
        head.repeated = repeated
        refusal = self._read_host(head, target.authority)
        if refusal is not None:
            return refusal
        length = request_length(first, repeated, minor)
        if isinstance(length, Denial):
            return length
        head.body_length = length
        return self._read_connection(head)

    @staticmethod
    def _read_host(head: RequestHead, authority: bytes | None) -> Denial | None:
        raw = head.first.get(b"host")
        if raw is None and head.minor == 1:
            return Denial(Reason.MALFORMED_HOST, "HTTP/1.1 requires a Host field")
        if raw is None and authority is None:
            head.host, head.authority = "", b""
            return None
        chosen = raw if authority is None else authority
        parsed = read_authority(chosen or b"")
        if parsed is None:
            return Denial(Reason.MALFORMED_HOST, "the authority is malformed")
        if authority is not None and raw is not None and read_authority(raw) != parsed:
            return Denial(Reason.MALFORMED_HOST, "Host and the target name different authorities")
        head.host, head.authority = parsed
        return None

    @staticmethod
    def _read_connection(head: RequestHead) -> RequestHead | Denial:
        first = head.first
        raw = first.get(b"connection")
        if raw is None:
            head.keep_alive = head.minor == 1
            head.upgrade = None
        else:
            options = tokens(head.values(b"connection"))
            # RFC 9112 section 9.3.
            head.keep_alive = b"close" not in options and (
                head.minor == 1 or b"keep-alive" in options
            )
            upgrade = read_upgrade(head, options)
            if isinstance(upgrade, Denial):
                return upgrade
            head.upgrade = upgrade
        expected = first.get(b"expect")
        if expected is None or head.minor == 0:
            # RFC 9110 section 10.1.1: an expectation in HTTP/1.0 is ignored.
            head.expects_continue = False
        elif expected.lower() == b"100-continue":
            head.expects_continue = head.body_length != 0
        else:
            return Denial(Reason.UNSUPPORTED_EXPECTATION, "only 100-continue is understood")
        return head


def unread_head() -> RequestHead:
    """The head of a request that could not be read, so that its refusal is answered and audited."""
    head = RequestHead()
    head.method = "-"
    head.target = b"-"
    head.path = "-"
    head.host = ""
    head.authority = b""
    head.minor = 1
    head.fields = []
    head.first = {}
    head.repeated = NO_FIELDS
    # None, not 0: what else the client sent cannot be told apart from a body.
    head.body_length = None
    head.keep_alive = False
    head.expects_continue = False
    head.upgrade = None
    return head

"""The bytes of one request head -> `RequestHead`, or a `Denial`.

llhttp (through httptools) judges the syntax of fields; the start line, the target, the host and
the framing are judged by us, because llhttp accepts more there than has one reading. It is fed
exactly one head and then made anew in place, which is cheaper than a new object.
"""

import re
from typing import Final

import httptools

from sidecar.model.decision import Denial
from sidecar.model.head import RequestHead
from sidecar.model.reason import Reason
from sidecar.parse.collector import FieldCollector
from sidecar.parse.fields import SINGLE, tokens
from sidecar.parse.framing import request_length
from sidecar.parse.host import read_authority
from sidecar.parse.target import CANONICAL, read_target
from sidecar.parse.upgrade import read_upgrade

# RFC 9112 section 3, with single spaces and nothing lenient. The target is judged later.
_START_LINE: Final = re.compile(
    rb"([A-Z][A-Z-]{0,31}) ([^ \t\x00-\x1f\x7f-\xff]+) HTTP/(\d)\.(\d)\r\n"
)
# CONNECT would be a tunnel, TRACE would echo credentials (RFC 9110 sections 9.3.6 and 9.3.8).
_REFUSED_METHODS: Final = frozenset((b"CONNECT", b"TRACE"))
# Bytes beyond which fields are counted before they are read.
_LONG_HEAD: Final = 4096
# One pattern for what nearly all requests begin with: none of it has to be looked at again.
_COMMON_METHODS: Final[dict[bytes, str]] = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}
_COMMON_START: Final = re.compile(
    rb"(%b) (%b) HTTP/1\.1\r\n" % (b"|".join(_COMMON_METHODS), CANONICAL)
)
_MALFORMED_AUTHORITY: Final = Denial(Reason.MALFORMED_HOST, "the authority is malformed")
_CONNECTION_ALONE: Final = frozenset((b"connection",))
_FRAMING: Final = frozenset((b"content-length", b"transfer-encoding"))


class RequestReader(FieldCollector):
    """Reads heads, one after the other. It keeps nothing of one but the names of its fields.

    Args:
        target_bytes: longest target.
        most_fields: most fields.
    """

    def __init__(self, *, target_bytes: int, most_fields: int) -> None:
        super().__init__()
        self._target_bytes = target_bytes
        self._most_fields = most_fields
        self._parser = httptools.HttpRequestParser(self)
        # Made anew in place for each head (0.2 µs), also after an error.
        self._renew = self._parser.__init__  # type: ignore[misc]  # the class is final in C

    def read(self, raw: bytes) -> RequestHead | Denial:
        """Read `raw`: one head, from its start line to the empty line, both included."""
        start = _COMMON_START.match(raw)
        if start is None:
            return self._read_uncommon(raw)
        method, target, path = start.groups()
        if len(target) > self._target_bytes:
            return self._read_uncommon(raw)
        head = RequestHead()
        head.method = _COMMON_METHODS[method]
        head.minor = 1
        head.path = path.decode("ascii")
        head.target = target
        return self._read_rest(raw, head)

    def _read_uncommon(self, raw: bytes) -> RequestHead | Denial:
        """Read a head whose start line is not of the common form; all rules about it are here."""
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
        head = RequestHead()
        head.method = method.decode("ascii")
        head.minor = 1 if minor == b"1" else 0
        return self._read_rest(raw, head, target)

    @staticmethod
    def _bad_start_line(raw: bytes) -> Denial:
        if raw.startswith(b"PRI * HTTP/2.0\r\n"):
            return Denial(Reason.UNSUPPORTED_VERSION, "HTTP/2 without TLS is not spoken here")
        return Denial(Reason.MALFORMED_REQUEST, "the request line is malformed")

    def _read_rest(
        self, raw: bytes, head: RequestHead, target: bytes | None = None
    ) -> RequestHead | Denial:
        """Read the fields into `head`, and a `target` that may not be canonical."""
        if len(raw) > _LONG_HEAD and raw.count(b"\n") > self._most_fields + 2:
            # Counted before they are read: thousands of empty fields cost little to send.
            return Denial(Reason.HEAD_TOO_LARGE, "too many fields")
        self._clear()
        self._renew(self)
        try:
            self._parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            pass  # llhttp's word for "Upgrade was asked for"; `read_upgrade` judges that
        except httptools.HttpParserError as error:
            return self._malformed(error)
        if len(self._values) > self._most_fields:
            return Denial(Reason.HEAD_TOO_LARGE, f"{len(self._values)} fields")
        self._collect(head)
        names = head.names
        if names.repeated:
            for name in SINGLE:
                if name in names.repeated:
                    reason = Reason.MALFORMED_HOST if name == b"host" else Reason.AMBIGUOUS_FRAMING
                    return Denial(reason, f"several {name.decode()} fields")
        place = names.places.get(b"host")
        if target is None and place is not None:
            authority = read_authority(head.contents[place])
            if authority is None:
                return _MALFORMED_AUTHORITY
            head.host, head.authority = authority
        else:
            refusal = self._read_host(head) if target is None else self._read_target(head, target)
            if refusal is not None:
                return refusal
        of_message = names.of_message
        if of_message and (
            of_message != _CONNECTION_ALONE
            or b"connection" in names.repeated
            or head.contents[names.places[b"connection"]].lower() != b"keep-alive"
        ):
            return self._read_framing(head)
        # Neither a body nor an expectation nor an upgrade; RFC 9112 section 9.3.
        head.body_length = 0
        head.keep_alive = head.minor == 1 or bool(of_message)
        head.expects_continue = False
        head.upgrade = None
        return head

    def _malformed(self, error: httptools.HttpParserError) -> Denial:
        if isinstance(error, httptools.HttpParserInvalidMethodError):
            return Denial(Reason.UNSUPPORTED_METHOD, "the method is not known")
        if _FRAMING.intersection(name.lower() for name in self._received):
            # Told by llhttp before we look ourselves; the reason is the same.
            return Denial(Reason.AMBIGUOUS_FRAMING, str(error))
        return Denial(Reason.MALFORMED_FIELD, str(error))

    def _read_target(self, head: RequestHead, raw: bytes) -> Denial | None:
        target = read_target(raw)
        if isinstance(target, Denial):
            return target
        head.path = target.path
        head.target = target.target
        return self._read_host(head, target.authority)

    @staticmethod
    def _read_host(head: RequestHead, authority: bytes | None = None) -> Denial | None:
        raw = head.value(b"host")
        if raw is None and head.minor == 1:
            return Denial(Reason.MALFORMED_HOST, "HTTP/1.1 requires a Host field")
        if raw is None and authority is None:
            head.host, head.authority = "", b""
            return None
        chosen = raw if authority is None else authority
        parsed = read_authority(chosen or b"")
        if parsed is None:
            return _MALFORMED_AUTHORITY
        if authority is not None and raw is not None and read_authority(raw) != parsed:
            return Denial(Reason.MALFORMED_HOST, "Host and the target name different authorities")
        head.host, head.authority = parsed
        return None

    @staticmethod
    def _read_framing(head: RequestHead) -> RequestHead | Denial:
        """Read what says how long the message is, and what becomes of its connection."""
        length = request_length(head, head.minor)
        if isinstance(length, Denial):
            return length
        head.body_length = length
        options = tokens(head.values(b"connection"))
        # RFC 9112 section 9.3.
        head.keep_alive = b"close" not in options and (head.minor == 1 or b"keep-alive" in options)
        upgrade = read_upgrade(head, options)
        if isinstance(upgrade, Denial):
            return upgrade
        head.upgrade = upgrade
        expected = head.value(b"expect")
        if expected is None or head.minor == 0:
            # RFC 9110 section 10.1.1: an expectation in HTTP/1.0 is ignored.
            head.expects_continue = False
        elif expected.lower() == b"100-continue":
            head.expects_continue = length != 0
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
    head.set_fields(())
    # None, not 0: what else the client sent cannot be told apart from a body.
    head.body_length = None
    head.keep_alive = False
    head.expects_continue = False
    head.upgrade = None
    return head

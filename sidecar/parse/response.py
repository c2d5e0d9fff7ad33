"""The bytes of one response head -> `ResponseHead`, or an error about the upstream."""

import re
from typing import Final

import httptools

from sidecar.model.head import Fields
from sidecar.parse.collector import FieldCollector
from sidecar.parse.framing import UpstreamMalformedError

# RFC 9112 section 4. The reason phrase is bounded to visible characters and thrown away.
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [\t -~\x80-\xff]*)?\r\n")


class ResponseHead(Fields):
    """The head of one HTTP/1.x response.

    Attributes:
        status: status code, 100 to 999.
        minor: minor version.
    """

    __slots__ = ("minor", "status")

    def __init__(self, status: int, minor: int) -> None:
        self.status = status
        self.minor = minor


class ResponseReader(FieldCollector):
    """Reads response heads, one after the other; of one it keeps only the names of its fields.

    Args:
        most_fields: most fields accepted from an upstream.
    """

    def __init__(self, *, most_fields: int = 1000) -> None:
        super().__init__()
        self._most_fields = most_fields
        self._parser = httptools.HttpResponseParser(self)
        # Made anew in place for each head (0.2 µs), also after an error.
        self._renew = self._parser.__init__  # type: ignore[misc]  # the class is final in C

    def read(self, raw: bytes) -> ResponseHead:
        """Read `raw`: one head, from its status line to the empty line, both included.

        Raises:
            UpstreamMalformedError: the head has no single reading.
        """
        start = _STATUS_LINE.match(raw)
        if start is None:
            raise UpstreamMalformedError("the status line is malformed")
        self._clear()
        self._renew(self)
        try:
            self._parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise UpstreamMalformedError(str(error)) from None
        if len(self._values) > self._most_fields:
            raise UpstreamMalformedError("too many fields")
        minor, status = start.groups()
        answer = ResponseHead(int(status), 1 if minor == b"1" else 0)
        self._collect(answer)
        return answer

"""The request target in its one canonical form: what is authorized is what is forwarded.

Profile (documented in docs/http.md):

- origin-form and absolute-form (RFC 9112 section 3.2); nothing else.
- Percent-encoded unreserved characters are decoded, other triplets get upper-case digits
  (RFC 3986 section 6.2.2); visible characters outside `pchar` that browsers leave bare
  (``" < > [ ] ^ ` { | }``) are encoded.
- Refused, because servers read them differently: empty segments (``//``), dot segments, ``;``,
  backslash, ``#``, and percent-encoded slash, backslash, ``;``, ``%``, control characters and
  invalid UTF-8.
- The query is not interpreted; it must be visible ASCII without ``#``.
"""

import re
from typing import Final

from sidecar.model.decision import Denial
from sidecar.model.reason import Reason

# Already canonical: nearly all real targets. Segments are never empty, "." or "..". The group is
# the path. What may follow a target is its end, or the space before the version.
CANONICAL: Final = (
    rb"(/|(?:/(?!\.{1,2}(?:[/? ]|\Z))[A-Za-z0-9._~!$&'()*+,=:@-]+)+/?)(?:\?[!\"$-~]*)?"
)
_CANONICAL: Final = re.compile(CANONICAL)
_QUERY: Final = re.compile(rb"[!\"$-~]*")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]+)(/[^?]*)?(\?.*)?", re.IGNORECASE | re.DOTALL)
_TRIPLET: Final = re.compile(rb"%([0-9A-Fa-f]{2})?")
_UNRESERVED: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
)
_PCHAR: Final = _UNRESERVED | frozenset(b"!$&'()*+,=:@")  # without ";"
_LEFT_BARE: Final = frozenset(b'"<>[]^`{|}')
_TWO_READINGS: Final = frozenset(b"/\\;%")


class Target:
    """A canonical target.

    Attributes:
        path: the path, ASCII.
        target: what is forwarded: path and query.
        authority: the authority of an absolute-form target, or ``None``.
    """

    __slots__ = ("authority", "path", "target")

    def __init__(self, path: str, target: bytes, authority: bytes | None) -> None:
        self.path = path
        self.target = target
        self.authority = authority


def read_target(raw: bytes) -> Target | Denial:
    """Bring `raw` (the request-target as received) into canonical form, or refuse it."""
    found = _CANONICAL.fullmatch(raw)
    if found is not None:
        return Target(found[1].decode("ascii"), raw, None)
    authority = None
    if not raw.startswith(b"/"):
        absolute = _ABSOLUTE.fullmatch(raw)
        if absolute is None:
            return _refuse("neither a path nor an absolute URL")
        authority = absolute[1]
        raw = (absolute[2] or b"/") + (absolute[3] or b"")
    path, mark, query = raw.partition(b"?")
    if _QUERY.fullmatch(query) is None:
        return _refuse("the query holds a character that must be percent-encoded")
    canonical = _canonical_path(path)
    if isinstance(canonical, Denial):
        return canonical
    return Target(canonical.decode("ascii"), canonical + mark + query, authority)


def _canonical_path(path: bytes) -> bytes | Denial:
    written = bytearray()
    decoded = bytearray()
    at = 0
    while at < len(path):
        byte = path[at]
        at += 1
        if byte == 0x25:
            triplet = _TRIPLET.match(path, at - 1)
            if triplet is None or triplet[1] is None:
                return _refuse("a percent sign is not followed by two hexadecimal digits")
            at += 2
            byte = int(triplet[1], 16)
            if byte < 0x20 or byte == 0x7F or byte in _TWO_READINGS:
                return _refuse(f"%{byte:02X} has more than one reading")
            written += bytes((byte,)) if byte in _UNRESERVED else b"%%%02X" % byte
        elif byte == 0x2F or byte in _PCHAR:
            written.append(byte)
        elif byte in _LEFT_BARE:
            written += b"%%%02X" % byte
        else:
            return _refuse(f"character 0x{byte:02X} is not allowed in a path")
        decoded.append(byte)
    try:
        decoded.decode("utf-8")
    except UnicodeDecodeError:
        return _refuse("the path does not decode to UTF-8")
    segments = bytes(written).split(b"/")[1:]
    if any(segment in {b".", b".."} for segment in segments):
        return _refuse("dot segments have more than one reading")
    if any(not segment for segment in segments[:-1]):
        return _refuse("empty segments (//) have more than one reading")
    return bytes(written)


def _refuse(detail: str) -> Denial:
    return Denial(Reason.MALFORMED_TARGET, detail)

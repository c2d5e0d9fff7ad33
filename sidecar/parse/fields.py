"""Rules about fields that more than one place needs."""

import math
import re
from typing import Final

# Fields of one hop (RFC 9110 section 7.6.1), proxies' credentials (RFC 9110 section 11.7), and
# what belongs to framing, which we write ourselves. One table for both directions.
HOP_BY_HOP: Final = frozenset(
    (
        b"connection",
        b"content-length",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-authentication-info",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)

# Fields that by their definition come once; two of them have two readings. (Several credentials
# are judged where credentials are.)
SINGLE: Final = (b"host", b"content-length", b"transfer-encoding", b"expect")

# Fields that some frameworks let override the method or target that was authorized.
OVERRIDES: Final = frozenset(
    (
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"x-original-url",
        b"x-rewrite-url",
    )
)


def tokens(values: list[bytes]) -> list[bytes]:
    """The members of a comma-separated list field, in lower case (RFC 9110 section 5.6.1)."""
    found = []
    for value in values:
        for member in value.split(b","):
            token = member.strip(b" \t").lower()
            if token:
                found.append(token)
    return found


_KEPT: Final = re.compile(
    rb"(?:^|[, \t])(timeout|max)[ \t]*=[ \t]*([0-9]{1,9})(?![0-9])", re.IGNORECASE
)


def kept_seconds(value: bytes) -> float:
    """How long ``Keep-Alive`` lets a connection rest, in seconds; infinite where it does not say.

    `timeout` is what common servers send (RFC 2068 section 19.7.1.1); `max=0` is the last answer.
    """
    parameters = {name.lower(): int(number) for name, number in _KEPT.findall(value)}
    if parameters.get(b"max") == 0:
        return 0.0
    return parameters.get(b"timeout", math.inf)


# Servers turn more than "-" into "_" on the way to a variable: PHP "." as well, lighttpd all that
# is neither letter nor digit (RFC 3875 section 4.1.18 leaves the rest to them).
_FOLD: Final = bytes(
    byte + 32 if 0x41 <= byte <= 0x5A else byte if chr(byte).isalnum() and byte < 128 else 0x2D
    for byte in range(256)
)


def normal_name(name: bytes) -> bytes:
    """The name as any server might fold it: lower case, ``-`` for all but letters and digits."""
    return name.translate(_FOLD)

"""Host and authority (RFC 9110 section 7.2): one, well formed, in lower case."""

import re
from typing import Final

# A registered name (underscores occur in cluster-internal names), an IPv4 or a bracketed IPv6
# address, and perhaps a port. No userinfo (RFC 9110 section 4.2.4).
_AUTHORITY: Final = re.compile(
    rb"([a-z0-9](?:[a-z0-9_-]|\.(?=[a-z0-9]))*\.?|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?"
)
_MOST_REMEMBERED: Final = 1024
_remembered: dict[bytes, tuple[str, bytes]] = {}


def read_authority(raw: bytes) -> tuple[str, bytes] | None:
    """Split an authority into (host without port or trailing dot, authority), both lower case.

    Returns None when it is malformed. Well-formed ones are remembered, a bounded number.
    """
    known = _remembered.get(raw)
    if known is not None:
        return known
    authority = raw.lower()
    found = _AUTHORITY.fullmatch(authority)
    if found is None or len(found[1]) > 255 or (found[2] is not None and int(found[2]) > 65535):
        return None
    answer = (found[1].decode("ascii").removesuffix("."), authority)
    if len(_remembered) >= _MOST_REMEMBERED:
        _remembered.clear()
    _remembered[raw] = answer
    return answer

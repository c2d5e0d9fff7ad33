"""Request ids: unique, cheap, and no secret."""

import itertools
import re
import secrets
from typing import Final

from sidecar.model.head import RequestHead
from sidecar.model.peer import Peer
from sidecar.settings.schema import Forwarded

_ACCEPTABLE: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


class Identifiers:
    """Makes identifiers: 64 random bits of the process, then a counter.

    A counter is unique without asking the system for random bytes at each request; request ids
    are names, not secrets.

    Args:
        forwarded: names the field in which a trusted proxy may give an id.
    """

    def __init__(self, forwarded: Forwarded) -> None:
        self._field = forwarded.request_id.lower().encode()
        self._process = secrets.token_hex(8).encode()
        self._next = itertools.count(secrets.randbits(32)).__next__

    def request_id(self, head: RequestHead, peer: Peer) -> bytes:
        """Id of an exchange: that of a trusted proxy, or a new one (24 hexadecimal digits)."""
        if peer.is_trusted and self._field not in head.names.repeated:
            given = head.value(self._field)
            if given is not None and _ACCEPTABLE.fullmatch(given):
                return given
        return b"%b%08x" % (self._process, self._next() & 0xFFFFFFFF)

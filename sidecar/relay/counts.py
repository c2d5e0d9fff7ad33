"""What is counted of WebSockets."""

from collections import Counter
from typing import Final

from sidecar.relay.closing import Code
from sidecar.telemetry.meters import Histogram

_OURS: Final = frozenset(map(int, Code))


class Counts:
    """Counts of all WebSockets, those that ended included.

    Attributes:
        messages: (direction, outcome, route) -> messages; outcomes are ``relayed``, the labels of
            message rules, and ``reauthenticated`` and ``reauthentication-refused``.
        octets: (direction, route) -> bytes that came, framing included.
        closes: (cause, code, route) -> WebSockets that ended; codes as `code_label` tells them.
        judging: how long message rules took for a message.
    """

    def __init__(self) -> None:
        self.messages: Counter[tuple[str, ...]] = Counter()
        self.octets: Counter[tuple[str, ...]] = Counter()
        self.closes: Counter[tuple[str, ...]] = Counter()
        self.judging = Histogram()


def code_label(code: int) -> str:
    """The close code as metrics tell it.

    Of those that libraries and applications choose only the kind, ``3xxx`` or ``4xxx``: a client
    could otherwise make two thousand series of each route.
    """
    return str(code) if code < 3000 or code in _OURS else f"{code // 1000}xxx"

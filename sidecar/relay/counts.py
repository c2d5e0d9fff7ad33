"""What is counted of WebSockets."""

from collections import Counter

from sidecar.telemetry.meters import Histogram


class Counts:
    """Counts of all WebSockets, those that ended included.

    Attributes:
        messages: (direction, outcome, route) -> messages; outcomes are ``relayed``, the labels of
            message rules, and ``reauthenticated`` and ``reauthentication-refused``.
        octets: (direction, route) -> bytes that came, framing included.
        closes: (cause, code, route) -> WebSockets that ended.
        judging: how long message rules took for a message.
    """

    def __init__(self) -> None:
        self.messages: Counter[tuple[str, ...]] = Counter()
        self.octets: Counter[tuple[str, ...]] = Counter()
        self.closes: Counter[tuple[str, ...]] = Counter()
        self.judging = Histogram()

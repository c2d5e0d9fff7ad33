"""Messages that are read before they pass: message rules, and fresh credentials.

One direction is read in order: where a message has to wait for facts, what follows it waits, too,
and that end is not read meanwhile; the other direction goes on.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from sidecar.clock import NEVER, stopwatch
from sidecar.model.decision import Denial, Missing
from sidecar.model.need import Found, Need
from sidecar.relay.closing import BINARY, CLOSE, TEXT, Code
from sidecar.relay.end import End
from sidecar.relay.frames import Violation
from sidecar.relay.gate import ALLOW, Close, Direction, Drop, Kind, Message, Verdict
from sidecar.relay.joining import Whole
from sidecar.relay.reauthentication import Fresh

if TYPE_CHECKING:
    from sidecar.relay.opening import Relay
    from sidecar.relay.session import Session

_LOG: Final = logging.getLogger(__name__)
_KINDS: Final = {TEXT: Kind.TEXT, BINARY: Kind.BINARY}
# Loading facts for one message, again and again, is a bug of its rules.
_MOST_ROUNDS: Final = 4
_RELAYED: Final = "relayed"


class Reader:
    """Reads the messages of one session.

    Args:
        relay: what all sessions share.
        session: the session.
        fresh: takes messages that show a credential; None where the route has none.
    """

    __slots__ = ("_fresh", "_loading", "_relay", "_rounds", "_session", "_tasks")

    def __init__(self, relay: "Relay", session: "Session", fresh: Fresh | None) -> None:
        self._relay = relay
        self._session = session
        self._fresh = fresh
        self._rounds = 0
        # Whose first message waits for facts.
        self._loading: set[End] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def due(self) -> float:
        """Instant of the loop's clock at which the client is to be told that its end is near."""
        return NEVER if self._fresh is None else self._fresh.due

    def announce(self) -> None:
        """Tell it."""
        if self._fresh is not None:
            self._fresh.announce()

    def read(self, end: End, wholes: list[Whole]) -> None:
        """`wholes` came from `end`."""
        if end.waiting:
            end.waiting += wholes
            return
        session = self._session
        for at, whole in enumerate(wholes):
            if not session.is_relaying:
                if not session.is_over:
                    end.waiting = wholes[at:]
                return
            if not self._pass(end, whole):
                end.waiting = wholes[at:]
                session.flow()
                return
        violation = end.frames.violation
        if violation is not None:
            session.ending.violated(end, violation)

    def renewed(self) -> None:
        """It was decided about again."""
        if self._fresh is not None:
            self._fresh.expect()

    def _pass(self, end: End, whole: Whole) -> bool:
        """Do with `whole` what has to be done; False where it has to wait."""
        kind = _KINDS.get(whole.opcode)
        if kind is None:
            if whole.opcode == CLOSE:
                self._session.ending.pass_close(end, whole.octets)
            else:
                end.other.write(whole.octets)
            return True
        if kind is Kind.TEXT and not _is_text(whole.payload):
            self._session.ending.violated(end, Violation(Code.INVALID_TEXT, "not UTF-8"))
            return True
        if end.is_client and self._fresh is not None and self._fresh.takes(kind, whole.payload):
            return True
        return self._judge(end, kind, whole)

    def _judge(self, end: End, kind: Kind, whole: Whole) -> bool:
        gate = self._session.gate
        direction = Direction.CLIENT if end.is_client else Direction.SERVER
        if gate is None:
            verdict: Verdict = ALLOW
        else:
            began = stopwatch()
            verdict = gate.judge(direction, kind, whole.payload)
            seconds = stopwatch() - began
            self._relay.counts.judging.add(seconds)
            if self._session.journal is not None:
                self._session.journal.add_judging(seconds)
        if isinstance(verdict, Missing):
            self._rounds += 1
            if self._rounds <= _MOST_ROUNDS:
                self._load(end, verdict)
                return False
            verdict = Close("internal-error", Code.INTERNAL, "internal-error")
        self._rounds = 0
        if verdict is ALLOW:
            self._count(direction, _RELAYED)
            end.other.write(whole.octets)
        elif isinstance(verdict, Drop):
            self._refused(direction, verdict.label)
            self._say(verdict.to_client, verdict.to_upstream)
        elif isinstance(verdict, Close):
            self._refused(direction, verdict.label)
            self._say(verdict.to_client, None)
            self._session.ending.tell_both(verdict.code, verdict.reason, verdict.label)
        return True

    def _count(self, direction: Direction, outcome: str) -> None:
        route = self._session.permit.route.name
        self._relay.counts.messages[direction.value, outcome, route] += 1

    def _refused(self, direction: Direction, label: str) -> None:
        self._count(direction, label)
        if self._session.journal is not None:
            self._session.journal.add_refusal(direction.value, label)

    def _say(self, to_client: Message | None, to_upstream: Message | None) -> None:
        session = self._session
        if to_client is not None:
            session.client.say(to_client.kind.value, to_client.payload)
        if to_upstream is not None:
            session.upstream.say(to_upstream.kind.value, to_upstream.payload)

    # -- Loading ----------------------------------------------------------------------------

    def _load(self, end: End, missing: Missing) -> None:
        self._loading.add(end)
        task = asyncio.get_running_loop().create_task(self._loaded(end, missing))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _loaded(self, end: End, missing: Missing) -> None:
        try:
            facts = await self._relay.lives.facts(missing)
            self._loading.discard(end)
            self._go_on_with(end, facts)
        except Exception:  # noqa: BLE001 - whatever broke, nobody would ever go on with it
            _LOG.exception("a message of request %s got no facts", self._session.request_id)
            self._session.ending.break_down()

    def _go_on_with(self, end: End, facts: Mapping[Need, Found | Denial]) -> None:
        gate = self._session.gate
        if gate is not None:
            gate.loaded(facts)
        # What was permitted when it came may not be any more.
        if self._session.is_relaying and self._session.life.may_pass():
            self._read_waiting(end)
        self._session.flow()

    def go_on(self) -> None:
        """Something may pass again."""
        for end in (self._session.upstream, self._session.client):
            if end not in self._loading:
                self._read_waiting(end)

    def _read_waiting(self, end: End) -> None:
        wholes, end.waiting = end.waiting, []
        if wholes:
            self.read(end, wholes)


def _is_text(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True

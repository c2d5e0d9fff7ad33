"""A relayed WebSocket: both directions, and whether anything may pass.

Hot path: what comes from one end is looked at (`frames`), and written to the other as it came; in
between only `Life.may_pass` is asked. Where a route has message rules, messages are joined and
judged first (`reader`). An end that does not keep up stops the other from being read.

How it ends is told in `ending`, what comes due meanwhile in `alarms`.
"""

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Final

from sidecar.authorize.permit import Permit
from sidecar.clock import stopwatch
from sidecar.model.decision import Denial
from sidecar.model.head import RequestHead
from sidecar.model.holding import Holding
from sidecar.model.peer import Peer
from sidecar.relay.alarms import Alarms
from sidecar.relay.closing import Code, code_of
from sidecar.relay.end import End
from sidecar.relay.ending import Ending
from sidecar.relay.frames import Violation
from sidecar.relay.joining import Joiner
from sidecar.relay.opened import Opened
from sidecar.telemetry.connection_spans import Journal

if TYPE_CHECKING:
    from sidecar.relay.opening import Relay

# Bursts are allowed as long as the mean over this time is not exceeded.
_RATE_SECONDS: Final = 10.0
# As the budget of all clients counts (`listen.budget`).
_LITTLE_BYTES: Final = 4096


class State(Enum):
    """What a session is doing."""

    RELAYING = "messages pass"
    HELD = "nothing passes until it is known whether it may"
    ENDING = "both ends were told; what they still send is dropped"


RELAYING: Final = State.RELAYING
HELD: Final = State.HELD
ENDING: Final = State.ENDING


class Session:
    """One WebSocket (`life.Relayed`, `listen.budget.Holder`, `audit.record.Closed`).

    Attributes:
        opened: the exchange that opened it, and what was agreed.
        permit: the latest.
        denial: why it was ended; None where it was not.
        gate: judges messages; None where nothing does.
        client: the client's end.
        upstream: the upstream's.
        life: whether it may go on.
        reader: reads messages; None where they pass unread.
        alarms: what comes due.
        ending: how it ends.
        started: reading of the stopwatch when it was opened.
    """

    __slots__ = (
        "_is_counted", "_limit", "_rated", "_rated_at", "_relay", "_reported", "_state", "alarms",
        "client", "denial", "ending", "gate", "life", "opened", "permit", "reader", "started",
        "upstream",
    )  # fmt: skip

    def __init__(self, relay: "Relay", opened: Opened) -> None:
        self._relay = relay
        self.opened = opened
        self.permit: Permit = opened.permit
        self.denial: Denial | None = None
        self.gate = opened.gate
        self.client = self._end(is_client=True)
        self.upstream = self._end(is_client=False)
        self.client.other, self.upstream.other = self.upstream, self.client
        self._state = RELAYING
        self.started = stopwatch()
        self._is_counted = False
        self._reported = (0, 0, 0, 0)
        self._limit = opened.policy.messages_per_second * _RATE_SECONDS
        self._rated, self._rated_at = 0, relay.now()
        self.reader = relay.reader_of(self) if opened.reads_messages else None
        self.ending = Ending(relay, self)
        self.alarms = Alarms(relay, self)
        # Last, for from now on it is asked.
        self.life = relay.lives.open(self, opened.head, opened.peer, opened.request_id, self.permit)

    def _end(self, *, is_client: bool) -> End:
        opened = self.opened
        frames = opened.frames(is_client=is_client)
        joiner = Joiner(frames) if opened.reads_messages else None
        handed = opened.client if is_client else opened.upstream
        return End(self, handed, frames, joiner, is_client=is_client)

    @property
    def is_relaying(self) -> bool:
        """Whether messages may pass, as far as is known."""
        return self._state is RELAYING

    @property
    def is_over(self) -> bool:
        """Whether nothing will be relayed any more."""
        return self._state is ENDING

    def reset(self, transport: asyncio.Transport) -> None:
        """End a connection so that this is no proper end."""
        self._relay.reset(transport)

    def backlog(self, transport: asyncio.Transport) -> tuple[int, int]:
        """Octets that a peer took so far, and those that wait for it."""
        return self._relay.backlog(transport)

    def begin(self) -> None:
        """Take both connections over, and what came on them already."""
        for end in (self.client, self.upstream):
            end.begin()
            if end.is_stalled:
                self.alarms.expect_progress(end)
        self.flow()
        # The upstream's first: what it said, it said before it knew anything of the client's.
        for end, handed in (
            (self.upstream, self.opened.upstream),
            (self.client, self.opened.client),
        ):
            octets, handed.octets = handed.octets, b""
            if octets:
                end.data_received(octets)

    def stop(self) -> None:
        """Relay nothing from now on."""
        self._state = ENDING
        self._relay.lives.close(self.life)

    # -- From its ends ----------------------------------------------------------------------

    def received(self, end: End, octets: bytes) -> None:
        """Octets came from `end`."""
        state = self._state
        if state is RELAYING:
            life = self.life
            if not life.stands() and not life.may_pass():
                if self._state is HELD:
                    end.late.append(octets)
                    self._tell_budget()
                return
            if end.joiner is not None:
                wholes = end.joiner.feed(octets)
                if end.has_offended:
                    return
                if self._limit and end.is_client and self._is_too_fast():
                    self._stop_talker()
                    return
                if self.reader is not None:
                    self.reader.read(end, wholes)
                    self._tell_budget()
                return
            frames = end.frames
            under_way = frames.under_way
            passed = frames.feed(octets)
            if end.has_offended:
                return
            if self._limit and end.is_client and self._is_too_fast():
                # Nothing of this read but the end of the frame under way: ours can only follow it.
                end.other.write(passed[:under_way])
                self._stop_talker()
                return
            if passed:
                if frames.close_code is None:
                    other = end.other
                    if not other.is_told and other.transport is not None:
                        other.transport.write(passed)
                else:
                    self.ending.pass_close(end, passed)
            if frames.violation is not None:
                self.ending.violated(end, frames.violation)
        elif state is HELD:
            end.late.append(octets)
            self._tell_budget()
        elif state is ENDING:
            self.ending.drop(end, octets)

    def _is_too_fast(self) -> bool:
        """Whether the client has just exceeded its rate; the clock is rarely asked."""
        frames = self.client.frames
        counted = frames.messages + frames.extras
        if counted - self._rated <= self._limit:
            return False
        now = self._relay.now()
        is_exceeded = now - self._rated_at < _RATE_SECONDS
        self._rated, self._rated_at = counted, now
        return is_exceeded

    def _stop_talker(self) -> None:
        self.ending.violated(self.client, Violation(Code.POLICY, "too many messages"))

    def stalled(self, end: End) -> None:
        """`end` does not keep up: the other is not read meanwhile.

        Nor is `end` itself where messages are judged: our answers would pile up for who only talks.
        """
        end.other.read_on(False)
        if end.joiner is not None:
            end.read_on(False)
        self.alarms.expect_progress(end)
        self._tell_budget()

    def flows(self, end: End) -> None:
        """It does again."""
        self.alarms.progressed(end)
        self.flow()
        self._tell_budget()

    def flow(self) -> None:
        """Read each end whose other keeps up, unless nothing may pass."""
        for end in (self.client, self.upstream):
            keeps_up = not end.other.is_stalled and not end.waiting
            keeps_up = keeps_up and (end.joiner is None or not end.is_stalled)
            end.read_on(self._state is ENDING or (self._state is RELAYING and keeps_up))

    # -- life.Relayed -----------------------------------------------------------------------

    def hold(self) -> None:
        """Let nothing pass until `resume`."""
        if self._state is RELAYING:
            self._state = HELD
            self.flow()

    def resume(self) -> None:
        """It may go on: first with what came meanwhile, by way of the loop."""
        if self._state is HELD:
            asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        if self._state is not HELD:
            return
        self._state = RELAYING
        for end in (self.upstream, self.client):
            late, end.late = end.late, []
            for at, octets in enumerate(late):
                self.received(end, octets)
                if self._state is HELD:
                    # `received` has kept this one itself.
                    end.late += late[at + 1 :]
                    break
        # The permit may have ended once more while what came was read.
        if self.reader is not None and self._state is RELAYING and self.life.may_pass():
            self.reader.go_on()
        self.flow()

    def renewed(self, permit: Permit) -> None:
        """It was decided about again."""
        self.permit = permit
        if self.gate is not None:
            self.gate.renewed(permit)
        if self.reader is not None:
            self.reader.renewed()
            self.alarms.arm()

    def end(self, denial: Denial) -> None:
        """It may not go on."""
        self.denial = denial
        code, reason = code_of(denial), denial.reason
        self.ending.tell_both(code, reason, reason, Code.GOING_AWAY)

    def leave(self) -> None:
        """We are ending."""
        self.ending.tell_both(Code.RESTART, "restart", "restart", Code.GOING_AWAY)

    def cut(self) -> None:
        """End now."""
        self.ending.cut("restart")

    # -- listen.budget.Holder ---------------------------------------------------------------

    def kept_bytes(self) -> int:
        """Octets that wait: for who does not read, for the rest of a message, for a decision."""
        return self.client.kept_bytes + self.upstream.kept_bytes

    def shed(self) -> Holding:
        """Memory for all clients is used up, and this one holds a large part of it."""
        self.ending.cut("memory")
        return Holding.WEBSOCKET

    def _tell_budget(self) -> None:
        if self._is_counted or self.kept_bytes() > _LITTLE_BYTES:
            self._is_counted = self._relay.budget.tell(self)

    # -- audit.record.Closed, and metrics ---------------------------------------------------

    @property
    def head(self) -> RequestHead:
        """The handshake."""
        return self.opened.head

    @property
    def peer(self) -> Peer:
        """The client's connection."""
        return self.opened.peer

    @property
    def request_id(self) -> bytes:
        """Of the exchange that opened it."""
        return self.opened.request_id

    @property
    def trace(self) -> bytes:
        """The traceparent of that exchange."""
        return self.opened.trace

    @property
    def journal(self) -> Journal | None:
        """What happens on it; None where nothing is recorded."""
        return self.opened.journal

    @property
    def status(self) -> int:
        """Of that exchange."""
        return 101

    @property
    def bytes_in(self) -> int:
        """What came from the client, framing included."""
        return self.client.octets

    @property
    def bytes_out(self) -> int:
        """What came from the upstream."""
        return self.upstream.octets

    @property
    def messages(self) -> tuple[int, int]:
        """What came from the client and from the upstream."""
        return self.client.frames.messages, self.upstream.frames.messages

    @property
    def cause(self) -> str:
        """How it ended."""
        return self.ending.cause

    @property
    def code(self) -> int:
        """The close code that its client got or gave; 1006 for none."""
        return self.ending.code

    def report(self) -> None:
        """Tell what was counted since the last time."""
        before = self._reported
        self._reported = now = (self.client.octets, self.upstream.octets, *self.messages)
        route, counts = self.permit.route.name, self._relay.counts
        counts.octets["client", route] += now[0] - before[0]
        counts.octets["server", route] += now[1] - before[1]
        if self.reader is None:
            counts.messages["client", "relayed", route] += now[2] - before[2]
            counts.messages["server", "relayed", route] += now[3] - before[3]

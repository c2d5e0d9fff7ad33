"""A relayed WebSocket: both directions, its limits, and how it ends.

Hot path: what comes from one end is looked at (`frames`), and written to the other as it came; in
between only `Life.may_pass` is asked. Where a route has message rules, messages are joined and
judged first. An end that does not keep up stops the other from being read.

It ends in one of these ways, each with a deadline:

- One end sends a close frame: it goes on, the other answers, and both connections are closed.
- One end breaks the protocol or a limit: the other is told by a close frame; what that one still
  has to say, and was about to, reaches the offender, and then a close frame says why.
- It may not go on (revoked, expired, idle, we are ending): both are told at once, and nothing is
  relayed from then on. Where a frame is under way to an end, so that no frame of ours can follow,
  that end is reset.
- One end is lost: the other is closed without a close frame, as it would have seen it itself.
"""

import asyncio
import os
from enum import Enum
from typing import TYPE_CHECKING, Final

from sidecar.authorize.permit import Permit
from sidecar.clock import NEVER, stopwatch
from sidecar.model.decision import Denial
from sidecar.model.head import RequestHead
from sidecar.model.peer import Peer
from sidecar.relay.closing import (
    CLOSE,
    PING,
    Code,
    close_payload,
    code_of,
    frame,
)
from sidecar.relay.end import End
from sidecar.relay.frames import Frames, Violation
from sidecar.relay.joining import Joiner

if TYPE_CHECKING:
    from sidecar.relay.opening import Opened, Relay

_PING: Final = b"sidecar"
# Bursts are allowed as long as the mean over this time is not exceeded.
_RATE_SECONDS: Final = 10.0
# Of `idle_seconds`: how often it is looked whether there was a message.
_SHARE: Final = 0.25
# As the budget of all clients counts (`listen.budget`).
_LITTLE_BYTES: Final = 4096
_CAUSES: Final = {Code.TOO_BIG: "too-big", Code.POLICY: "too-many", Code.FORBIDDEN: "refused"}


class State(Enum):
    """What a session is doing."""

    RELAYING = "messages pass"
    HELD = "nothing passes until it is known whether it may"
    ENDING = "both ends were told; what they still send is dropped"


RELAYING: Final = State.RELAYING
HELD: Final = State.HELD
ENDING: Final = State.ENDING


class Session:
    """One WebSocket.

    Attributes:
        opened: the exchange that opened it, and what was agreed.
        permit: the latest.
        denial: why it was ended; None where it was not.
        cause: how it ended, for metrics.
        code: the close code that its client got or gave; 1006 for none.
        started: reading of the stopwatch when it was opened.
        deadline: of the sweeper: when something is to be looked at.
    """

    __slots__ = (
        "_answer_due", "_idle_due", "_idle_since", "_is_counted", "_limit", "_messages",
        "_offender", "_ping_due", "_rated", "_rated_at", "_relay", "_reported", "_stall_due",
        "_state", "_violation", "cause", "client", "code", "deadline", "denial", "gate", "life",
        "opened", "permit", "reader", "started", "upstream",
    )  # fmt: skip

    def __init__(self, relay: "Relay", opened: "Opened") -> None:
        self._relay = relay
        self.opened = opened
        self.permit: Permit = opened.permit
        self.denial: Denial | None = None
        self.cause = ""
        self.code: int = Code.ABNORMAL
        policy = opened.policy
        self.gate = opened.gate
        reads = opened.reads_messages
        self.client = self._end(opened, is_client=True, reads=reads)
        self.upstream = self._end(opened, is_client=False, reads=reads)
        self.client.other, self.upstream.other = self.upstream, self.client
        self.life = relay.lives.open(self, opened.head, opened.peer, opened.request_id, self.permit)
        self._state = RELAYING
        self.started = stopwatch()
        self._is_counted = False
        self._offender: End | None = None
        self._violation: Violation | None = None
        self._messages = 0
        self._reported = (0, 0, 0, 0)
        now = relay.now()
        self._limit = policy.messages_per_second * _RATE_SECONDS
        self._rated, self._rated_at = 0, now
        self._idle_since = now
        self._ping_due = now + policy.ping_seconds if policy.ping_seconds else NEVER
        self._idle_due = now + _SHARE * policy.idle_seconds if policy.idle_seconds else NEVER
        self._answer_due = NEVER
        self._stall_due = NEVER
        self.deadline = NEVER
        self.reader = relay.reader_of(self) if reads else None
        self.arm()

    @staticmethod
    def _frames(opened: "Opened", *, is_client: bool, reads: bool) -> Frames:
        policy = opened.policy
        most = min(policy.read_bytes, policy.message_bytes) if reads else policy.message_bytes
        return Frames(
            is_masked=is_client,
            compresses=opened.agreement.compresses,
            frame_bytes=min(policy.frame_bytes, most),
            message_bytes=most,
        )

    def _end(self, opened: "Opened", *, is_client: bool, reads: bool) -> End:
        frames = self._frames(opened, is_client=is_client, reads=reads)
        handed = opened.client if is_client else opened.upstream
        joiner = Joiner(frames) if reads else None
        return End(self, handed, frames, joiner, is_client=is_client)

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

    def begin(self) -> None:
        """Take both connections over, and what came on them already."""
        self.client.begin()
        self.upstream.begin()
        self.flow()
        # The upstream's first: what it said, it said before it knew anything of the client's.
        for end, handed in (
            (self.upstream, self.opened.upstream),
            (self.client, self.opened.client),
        ):
            octets, handed.octets = handed.octets, b""
            if octets:
                end.data_received(octets)

    # -- From its ends ----------------------------------------------------------------------

    def received(self, end: End, octets: bytes) -> None:
        """Octets came from `end`."""
        state = self._state
        if state is RELAYING:
            life = self.life
            if not life.stands() and not life.may_pass():
                if self._state is HELD:
                    end.late.append(octets)
                return
            if end.joiner is not None:
                if self.reader is not None:
                    self.reader.read(end, end.joiner.feed(octets))
                    self._tell_budget()
                return
            frames = end.frames
            passed = frames.feed(octets)
            if end is self._offender:
                return
            if self._limit and end.is_client and self.is_too_fast():
                return
            if passed:
                if frames.close_code is None:
                    other = end.other
                    if not other.is_told and other.transport is not None:
                        other.transport.write(passed)
                else:
                    self.pass_close(end, passed)
            if frames.violation is not None:
                self.violated(end, frames.violation)
        elif state is HELD:
            end.late.append(octets)
        elif state is ENDING:
            self._drop(end, octets)

    def lost(self, end: End) -> None:
        """The connection of `end` is gone."""
        other = end.other
        if self._state is not ENDING:
            self._note(f"{'client' if end.is_client else 'upstream'}-lost")
            if other is self._offender:
                self._tell_offender()
            self._state = ENDING
            self._relay.lives.close(self.life)
        if other.transport is None:
            self.deadline = NEVER
            self._relay.forget(self)
            return
        if not other.is_told or other.frames.has_ended:
            other.close()
        if self._answer_due == NEVER:
            self._expect_answer()

    def stalled(self, end: End) -> None:
        """`end` does not keep up: the other is not read meanwhile.

        Nor is `end` itself where messages are judged: our answers would pile up for who only talks.
        """
        end.other.read_on(False)
        if end.joiner is not None:
            end.read_on(False)
        self._stall_due = self._relay.now() + self._relay.deadlines.write_stall_seconds
        self.arm()
        self._tell_budget()

    def flows(self, _end: End) -> None:
        """It does again."""
        if not self.client.is_stalled and not self.upstream.is_stalled:
            self._stall_due = NEVER
            self.arm()
        self.flow()
        self._tell_budget()

    def flow(self) -> None:
        """Read each end whose other keeps up, unless nothing may pass."""
        for end in (self.client, self.upstream):
            keeps_up = not end.other.is_stalled and not end.waiting
            keeps_up = keeps_up and (end.joiner is None or not end.is_stalled)
            end.read_on(self._state is ENDING or (self._state is RELAYING and keeps_up))

    # -- Closing ----------------------------------------------------------------------------

    def pass_close(self, end: End, passed: bytes) -> None:
        """`passed` ends with the close frame of `end`."""
        other = end.other
        if other is self._offender:
            # It is told why itself; of its last words only what came before this.
            other.write(passed[: len(passed) - end.frames.close_bytes])
            self._tell_offender()
            self._finish()
            return
        other.write(passed)
        self._closed_by(end)

    def _closed_by(self, end: End) -> None:
        """The close frame of `end` went on."""
        end.other.is_told = True
        if end.is_client or self.code == Code.ABNORMAL:
            self.code = end.frames.close_code or Code.NO_CODE
        self._note("client-closed" if end.is_client else "upstream-closed")
        if end.is_told:
            self._finish()
        else:
            self._expect_answer()

    def violated(self, end: End, violation: Violation) -> None:
        """`end` broke the protocol or a limit: the other is told, and asked for its last words."""
        if self._offender is not None:
            if self._offender is not end:
                self.end_with(Code.PROTOCOL_ERROR, "", "protocol")
            return
        self._offender, self._violation = end, violation
        self._note(_CAUSES.get(violation.code, "protocol"))
        self.code = violation.code
        if end.is_told or not self._tell(end.other, violation.code, violation.detail):
            self._tell_offender()
            self._finish()
        else:
            self._expect_answer()

    def _tell_offender(self) -> None:
        if self._offender is not None and self._violation is not None:
            self._tell(self._offender, self._violation.code, self._violation.detail)

    def say(self, end: End, opcode: int, payload: bytes) -> None:
        """Send a message of ours; only where messages are read, so that none is under way."""
        end.write(_frame(end, opcode, payload))

    def _tell(self, end: End, code: int, reason: str = "") -> bool:
        """Send a close frame; False where none can follow: then the end is reset."""
        if end.is_told or end.transport is None:
            return True
        if not end.at_boundary:
            end.abort()
            return False
        end.write(_frame(end, CLOSE, close_payload(code, reason)))
        end.is_told = True
        return True

    def _expect_answer(self) -> None:
        self._answer_due = self._relay.now() + self._relay.deadlines.close_seconds
        self.arm()

    def _finish(self) -> None:
        """Both were told: we close to the client, and the upstream to us (RFC 6455, 7.1.1)."""
        self._state = ENDING
        self._relay.lives.close(self.life)
        self.client.close()
        self._expect_answer()

    def _drop(self, end: End, octets: bytes) -> None:
        """Nothing is relayed any more; but a close frame is an answer."""
        if end.joiner is None:
            end.frames.feed(octets)
        else:
            end.joiner.feed(octets)
        if end.frames.has_ended:
            end.close()

    def end_with(self, code: int, reason: str, cause: str, upstream_code: int = 0) -> None:
        """Tell both ends, and relay nothing from now on.

        Args:
            code: for the client.
            reason: text for both.
            cause: for metrics.
            upstream_code: for the upstream, where it is another.
        """
        if self._state is ENDING:
            return
        self._note(cause)
        self.code = code
        self._state = ENDING
        self._relay.lives.close(self.life)
        for end in (self.client, self.upstream):
            end.late.clear()
            end.waiting.clear()
            if end.is_stalled:
                # What waits for it would still reach it.
                end.abort()
                continue
            self._tell(end, (upstream_code or code) if end is self.upstream else code, reason)
            end.read_on(True)
        self._expect_answer()

    def _note(self, cause: str) -> None:
        if not self.cause:
            self.cause = cause

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
        if self.reader is not None:
            self.reader.go_on()
        self.flow()

    def renewed(self, permit: Permit) -> None:
        """It was decided about again."""
        self.permit = permit
        if self.gate is not None:
            self.gate.renewed(permit)
        if self.reader is not None:
            self.reader.renewed()
            self.arm()

    def end(self, denial: Denial) -> None:
        """It may not go on."""
        self.denial = denial
        self.end_with(code_of(denial), denial.reason, denial.reason, Code.GOING_AWAY)

    def leave(self) -> None:
        """We are ending."""
        self.end_with(Code.RESTART, "restart", "restart", Code.GOING_AWAY)

    def cut(self) -> None:
        """End now."""
        self._note("restart")
        for end in (self.client, self.upstream):
            end.abort()

    def report(self) -> None:
        """Tell what was counted since the last time."""
        client, upstream = self.client, self.upstream
        before = self._reported
        now = client.octets, upstream.octets, client.frames.messages, upstream.frames.messages
        self._reported = now
        route, counts = self.permit.route.name, self._relay.counts
        counts.octets["client", route] += now[0] - before[0]
        counts.octets["server", route] += now[1] - before[1]
        if client.joiner is None:
            counts.messages["client", "relayed", route] += now[2] - before[2]
            counts.messages["server", "relayed", route] += now[3] - before[3]

    # -- Limits -----------------------------------------------------------------------------

    def is_too_fast(self) -> bool:
        """Whether the client has exceeded its rate just now; the clock is rarely asked."""
        messages = self.client.frames.messages
        if not self._limit or messages - self._rated <= self._limit:
            return False
        now = self._relay.now()
        is_exceeded = now - self._rated_at < _RATE_SECONDS
        self._rated, self._rated_at = messages, now
        if is_exceeded:
            self.violated(self.client, Violation(Code.POLICY, "too many messages"))
        return is_exceeded

    # -- listen.budget.Holder ---------------------------------------------------------------

    def kept_bytes(self) -> int:
        """Octets that wait: for who does not read, for the rest of a message, for a decision."""
        return self.client.kept_bytes + self.upstream.kept_bytes

    def shed(self) -> None:
        """Memory for all clients is used up, and this one holds a large part of it."""
        self._note("memory")
        self.cut()

    def _tell_budget(self) -> None:
        if self._is_counted or self.kept_bytes() > _LITTLE_BYTES:
            self._is_counted = self._relay.budget.tell(self)

    # -- Deadlines --------------------------------------------------------------------------

    def arm(self) -> None:
        """Set the deadline to what is due first."""
        announce = NEVER if self.reader is None else self.reader.due
        self.deadline = min(
            self._ping_due, self._idle_due, self._answer_due, self._stall_due, announce
        )

    def expire(self) -> None:
        """Sweeper: something is due."""
        now = self._relay.now()
        if now >= self._answer_due:
            self._answer_due = NEVER
            self._unanswered()
        if now >= self._stall_due:
            self._stall_due = NEVER
            self._note("client-stalled" if self.client.is_stalled else "upstream-stalled")
            self.cut()
        if now >= self._ping_due:
            self._ping_due = now + self.opened.policy.ping_seconds
            self._look_for_silence()
        if now >= self._idle_due:
            self._look_for_idleness(now)
        if self.reader is not None and now >= self.reader.due:
            self.reader.announce()
        if self._state is ENDING:
            self._ping_due = self._idle_due = NEVER
        self.arm()

    def _unanswered(self) -> None:
        """Who was asked for a close frame, or to close, has not."""
        if self._offender is not None and self._state is RELAYING:
            self._tell_offender()
            self._finish()
        else:
            self._note("unanswered")
            for end in (self.client, self.upstream):
                end.abort()

    def _look_for_silence(self) -> None:
        if self._state is not RELAYING or self._answer_due != NEVER:
            return
        for end in (self.client, self.upstream):
            if end.is_heard or not end.is_reading:
                end.is_heard = end.is_pinged = False
            elif not end.is_pinged:
                end.is_pinged = True
                if end.at_boundary:
                    end.write(_frame(end, PING, _PING))
            else:
                end.abort()
                if end is self.client:
                    self.end_with(Code.GOING_AWAY, "silent", "client-silent")
                else:
                    self.end_with(Code.INTERNAL, "silent", "upstream-silent")
                return

    def _look_for_idleness(self, now: float) -> None:
        messages = self.client.frames.messages + self.upstream.frames.messages
        seconds = self.opened.policy.idle_seconds
        self._idle_due = now + _SHARE * seconds
        if messages != self._messages:
            self._messages, self._idle_since = messages, now
        elif now - self._idle_since >= seconds:
            self.end_with(Code.GOING_AWAY, "idle", "idle")


def _frame(end: End, opcode: int, payload: bytes) -> bytes:
    """A frame of ours; an upstream takes us for the client, whose frames are masked."""
    return frame(opcode, payload, b"" if end.is_client else os.urandom(4))

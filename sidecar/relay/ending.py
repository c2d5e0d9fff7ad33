"""How a WebSocket ends: in one of these ways, each with a deadline.

- One end sends a close frame: it goes on, the other answers, and both connections are closed. An
  end that reads slowly gets to read what came before that frame, as long as it may.
- One end breaks the protocol or a limit: the other is told by a close frame; what that one still
  has to say, and was about to, reaches the offender, and then a close frame says why.
- It may not go on (revoked, expired, idle, we are ending): both are told at once, and nothing is
  relayed from then on. Where a frame is under way to an end, so that no frame of ours can follow,
  or where it was sent more than its kernel takes, that end is reset.
- One end is lost: the other is closed without a close frame, as it would have seen it itself.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from sidecar.model.reason import Reason
from sidecar.relay.closing import Code
from sidecar.relay.end import End
from sidecar.relay.frames import Violation

if TYPE_CHECKING:
    from sidecar.relay.opening import Relay
    from sidecar.relay.session import Session

_CAUSES: Final = {Code.TOO_BIG: "too-big", Code.POLICY: "too-many", Code.FORBIDDEN: "refused"}


class Ending:
    """The end of one session.

    Args:
        relay: what all sessions share.
        session: the session.

    Attributes:
        cause: how it ended, for metrics; empty while it has not.
        code: the close code that its client got or gave; 1006 for none.
    """

    __slots__ = ("_offender", "_progressed_at", "_relay", "_session", "_violation", "cause", "code")

    def __init__(self, relay: "Relay", session: "Session") -> None:
        self._relay = relay
        self._session = session
        self._offender: End | None = None
        self._violation: Violation | None = None
        self._progressed_at = 0.0
        self.cause = ""
        self.code: int = Code.ABNORMAL

    # -- An end closes ----------------------------------------------------------------------

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
            end.other.took_some()
            self._progressed_at = self._relay.now()
            self._session.alarms.expect_answer()

    def drop(self, end: End, octets: bytes) -> None:
        """Nothing is relayed any more; but a close frame is an answer."""
        if end.joiner is None:
            end.frames.feed(octets)
        else:
            end.joiner.feed(octets)
        if end.frames.has_ended:
            end.close()

    def unanswered(self) -> None:
        """Who was asked for a close frame, or to close, has not."""
        if self._offender is not None and self._session.is_relaying:
            self._tell_offender()
            self._finish()
        elif self._is_being_read():
            self._session.alarms.expect_answer()
        else:
            self.cut("unanswered")

    def _is_being_read(self) -> bool:
        """Whether an end still takes what came before the close frame of the other.

        Only while it may: the session is not over then, and would be told to end.
        """
        session, now = self._session, self._relay.now()
        if session.is_over:
            return False
        told = session.client if session.client.is_told else session.upstream
        if told.took_some():
            self._progressed_at = now
            return True
        pause = now - self._progressed_at
        return told.has_unread and pause < self._relay.deadlines.write_stall_seconds

    def _finish(self) -> None:
        """Both were told: we close to the client, and the upstream to us (RFC 6455, 7.1.1)."""
        self._session.stop()
        self._session.client.close()
        if self._session.client.transport is None:
            self._session.upstream.close()
        self._session.alarms.expect_answer()

    # -- An end breaks a rule ---------------------------------------------------------------

    def violated(self, end: End, violation: Violation) -> None:
        """`end` broke the protocol or a limit: the other is told, and asked for its last words."""
        if self._offender is not None:
            if self._offender is not end:
                self.tell_both(Code.PROTOCOL_ERROR, "", "protocol")
            return
        self._offender, self._violation = end, violation
        end.has_offended = True
        self._note(_CAUSES.get(violation.code, "protocol"))
        self.code = violation.code
        if end.is_told or not end.other.tell(violation.code, violation.detail):
            self._tell_offender()
            self._finish()
        else:
            self._session.alarms.expect_answer()

    def _tell_offender(self) -> None:
        if self._offender is not None and self._violation is not None:
            self._offender.tell(self._violation.code, self._violation.detail)

    # -- It may not go on -------------------------------------------------------------------

    def tell_both(self, code: int, reason: str, cause: str, upstream_code: int = 0) -> None:
        """Tell both ends, and relay nothing from now on.

        Args:
            code: for the client.
            reason: text for both.
            cause: for metrics.
            upstream_code: for the upstream, where it is another.
        """
        session = self._session
        if session.is_over:
            return
        self._note(cause)
        self.code = code
        session.stop()
        for end in (session.client, session.upstream):
            end.late.clear()
            end.waiting.clear()
            told = code if end.is_client else upstream_code or code
            if end.is_stalled:
                # What waits for it would still reach it.
                end.abort()
            elif session.denial is not None and end.unsent:
                # Written just now, or more than its kernel takes: the next turn of the loop tells.
                asyncio.get_running_loop().call_soon(self._tell_unless_late, end, told, reason)
            else:
                end.tell(told, reason)
                end.read_on(True)
        session.alarms.expect_answer()

    @staticmethod
    def _tell_unless_late(end: End, code: int, reason: str) -> None:
        if end.unsent:
            end.abort()
        else:
            end.tell(code, reason)
            end.read_on(True)

    def break_down(self) -> None:
        """A bug of ours: nothing can go on."""
        self.tell_both(Code.INTERNAL, Reason.INTERNAL_ERROR, Reason.INTERNAL_ERROR)

    def stalled(self, end: End) -> None:
        """`end` has not kept up for too long."""
        self.cut("client-stalled" if end.is_client else "upstream-stalled")

    def cut(self, cause: str) -> None:
        """End now: both are reset."""
        self._note(cause)
        self._session.client.abort()
        self._session.upstream.abort()

    # -- An end is gone ---------------------------------------------------------------------

    def half_closed(self, end: End) -> None:
        """`end` sends nothing more; without a close frame that is no proper end.

        Its connection closes by itself once it took what it was sent, for which it has not long.
        """
        if end.frames.close_code is None and not self._session.is_over:
            self._leave(end)
            self._close_other(end)

    def lost(self, end: End) -> None:
        """The connection of `end` is gone."""
        session, other = self._session, end.other
        if other.transport is None:
            self._leave(end)
            session.alarms.disarm()
            self._relay.forget(session)
        elif not session.is_over and end.frames.close_code is not None and other.is_told:
            # It closed properly, but waits for no answer: the other reads on, and may answer.
            self._note_loss(end)
        else:
            self._leave(end)
            self._close_other(end)

    def _leave(self, end: End) -> None:
        if self._session.is_over:
            return
        self._note_loss(end)
        if end.other is self._offender:
            self._tell_offender()
        self._session.stop()

    def _close_other(self, end: End) -> None:
        session, other = self._session, end.other
        if not other.is_told or other.frames.has_ended:
            other.close()
        if not session.alarms.awaits_answer:
            session.alarms.expect_answer()

    def _note_loss(self, end: End) -> None:
        self._note(f"{'client' if end.is_client else 'upstream'}-lost")

    def _note(self, cause: str) -> None:
        if not self.cause:
            self.cause = cause

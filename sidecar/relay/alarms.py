"""What comes due while a WebSocket is open: a ping, an answer, a look whether anything passes."""

from typing import TYPE_CHECKING, Final

from sidecar.clock import NEVER
from sidecar.relay.closing import PING, Code
from sidecar.relay.end import End

if TYPE_CHECKING:
    from sidecar.relay.opening import Relay
    from sidecar.relay.session import Session

_PING: Final = b"sidecar"
# Of `idle_seconds`: how often it is looked whether there was a message.
_SHARE: Final = 0.25
# A ping cannot be put into a frame that is under way; but nobody may be silent for ever.
_MOST_SILENT_LOOKS: Final = 4


class Alarms:
    """The deadlines of one session, of which the sweeper sees the first (`clock.Expiring`).

    Args:
        relay: what all sessions share.
        session: the session.

    Attributes:
        deadline: when something is to be looked at.
    """

    __slots__ = (
        "_answer_due", "_idle_due", "_idle_since", "_messages", "_ping_due", "_relay", "_session",
        "deadline",
    )  # fmt: skip

    def __init__(self, relay: "Relay", session: "Session") -> None:
        self._relay = relay
        self._session = session
        policy, now = session.opened.policy, relay.now()
        self._messages, self._idle_since = 0, now
        self._ping_due = now + policy.ping_seconds if policy.ping_seconds else NEVER
        self._idle_due = now + _SHARE * policy.idle_seconds if policy.idle_seconds else NEVER
        self._answer_due = NEVER
        self.deadline = NEVER
        self.arm()

    def arm(self) -> None:
        """Set the deadline to what is due first."""
        reader = self._session.reader
        announce = NEVER if reader is None else reader.due
        self.deadline = min(
            self._ping_due, self._idle_due, self._answer_due, self._stall_due, announce
        )

    def disarm(self) -> None:
        """The session is gone."""
        self.deadline = NEVER

    @property
    def awaits_answer(self) -> bool:
        """Whether a close frame, or the end of a connection, is expected."""
        return self._answer_due != NEVER

    def expect_answer(self) -> None:
        """It is, from now on."""
        self._answer_due = self._relay.now() + self._relay.deadlines.close_seconds
        self.arm()

    def expect_progress(self, end: End) -> None:
        """`end` does not keep up: not for long, whatever the other does meanwhile."""
        end.stall_due = self._relay.now() + self._relay.deadlines.write_stall_seconds
        self.arm()

    def progressed(self, end: End) -> None:
        """It keeps up again."""
        end.stall_due = NEVER
        self.arm()

    @property
    def _stall_due(self) -> float:
        return min(self._session.client.stall_due, self._session.upstream.stall_due)

    def expire(self) -> None:
        """Sweeper: something is due."""
        session, now = self._session, self._relay.now()
        if now >= self._answer_due:
            self._answer_due = NEVER
            session.ending.unanswered()
        if now >= self._stall_due:
            client, upstream = session.client, session.upstream
            session.ending.stalled(min(client, upstream, key=lambda end: end.stall_due))
            client.stall_due = upstream.stall_due = NEVER
        if now >= self._ping_due:
            self._ping_due = now + session.opened.policy.ping_seconds
            self._look_for_silence()
        if now >= self._idle_due:
            self._look_for_idleness(now)
        if session.reader is not None and now >= session.reader.due:
            session.reader.announce()
        if session.is_over:
            self._ping_due = self._idle_due = NEVER
        self.arm()

    def _look_for_silence(self) -> None:
        session = self._session
        if not session.is_relaying or self.awaits_answer:
            return
        for end in (session.client, session.upstream):
            if end.shows_life():
                end.is_pinged = False
                end.silent_looks = 0
                continue
            end.silent_looks += 1
            if end.is_pinged or end.silent_looks > _MOST_SILENT_LOOKS:
                end.abort()
                if end.is_client:
                    session.ending.tell_both(Code.GOING_AWAY, "silent", "client-silent")
                else:
                    session.ending.tell_both(Code.INTERNAL, "silent", "upstream-silent")
                return
            if end.at_boundary:
                end.is_pinged = True
                end.say(PING, _PING)

    def _look_for_idleness(self, now: float) -> None:
        session = self._session
        messages = sum(session.messages)
        seconds = session.opened.policy.idle_seconds
        self._idle_due = now + _SHARE * seconds
        if messages != self._messages:
            self._messages, self._idle_since = messages, now
        elif now - self._idle_since >= seconds:
            session.ending.tell_both(Code.GOING_AWAY, "idle", "idle")

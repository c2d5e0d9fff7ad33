"""From a permitted handshake to a session: what all sessions share, and how one begins."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from sidecar.authenticate.handshake import without_parameters
from sidecar.authorize.permit import Permit
from sidecar.clock import Sweeper
from sidecar.model.head import RequestHead, Upgrade
from sidecar.model.peer import Peer
from sidecar.parse.response import ResponseHead
from sidecar.relay.counts import Counts, code_label
from sidecar.relay.end import Handed
from sidecar.relay.gate import GateMaker
from sidecar.relay.handshake import Agreement, agree, is_of_handshake, offer
from sidecar.relay.lives import Lives
from sidecar.relay.opened import Opened
from sidecar.relay.reader import Reader
from sidecar.relay.reauthentication import Fresh
from sidecar.relay.reviewing import safely
from sidecar.relay.session import Session
from sidecar.relay.streams import Streams
from sidecar.settings.schema import Deadlines
from sidecar.telemetry.connection_spans import Journal


class Budget(Protocol):
    """The bound on what all clients together keep in memory (`listen.budget.Budget`)."""

    def tell(self, holder: Session, /) -> bool:
        """It keeps more, or less, than it did; whether it is worth counting."""

    def forget(self, holder: Session, /) -> None:
        """It is gone."""


class Handshake(Protocol):
    """The exchange that a WebSocket begins as (`forward.exchange.Exchange`)."""

    head: RequestHead
    peer: Peer
    request_id: bytes
    permit: Permit | None
    trace: bytes


class Relay:
    """Relays WebSockets (`forward.switching.Switches`, `listen.server.Relays`).

    Args:
        lives: knows all of them.
        deadlines: how long ends may take.
        most: open WebSockets.
        parameters: of the query that hold credentials, which do not go upstream.
        gate_of: makes gates; None where no route has message rules.
        reset: ends a connection so that this is no proper end.
        backlog: octets that a peer took so far, and those that wait for it.
        budget: of memory.
        ended: called once for each session, when both its connections are gone.
        sweeper: looks at deadlines.
        keeps_journals: whether it is kept what happens on each.

    Attributes:
        counts: what is counted.
        streams: finds responses that last; None where nobody looks.
        now: the loop's clock.
        reset: ends a connection so that this is no proper end.
        backlog: octets that a peer took so far, and those that wait for it.
        budget: of memory.
    """

    def __init__(
        self,
        lives: Lives,
        *,
        deadlines: Deadlines,
        most: int,
        parameters: frozenset[bytes],
        gate_of: GateMaker | None,
        reset: Callable[[asyncio.Transport], None],
        backlog: Callable[[asyncio.Transport], tuple[int, int]],
        budget: Budget,
        ended: Callable[[Session], None],
        sweeper: Sweeper,
        keeps_journals: bool = False,
    ) -> None:
        self.lives: Final = lives
        self.deadlines: Final = deadlines
        self.counts: Final = Counts()
        self.now: Final = asyncio.get_running_loop().time
        self._most = most
        self._parameters = parameters
        self._gate_of = gate_of
        self.reset: Final = reset
        self.backlog: Final = backlog
        self.budget: Final = budget
        self._ended = ended
        self._sweeper = sweeper
        self._keeps_journals = keeps_journals
        self._sessions: set[Session] = set()
        self._is_draining = False
        self.streams: Streams | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    # -- forward.switching.Switches ---------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether there are as many WebSockets as there may be."""
        return len(self._sessions) >= self._most

    def request(self, exchange: Handshake) -> tuple[RequestHead, bytes]:
        """The head as it goes upstream, and the fields of the handshake beside it."""
        head, upgrade, permit = _asked(exchange)
        going = RequestHead()
        going.method, going.path, going.host = head.method, head.path, head.host
        going.authority, going.minor = head.authority, head.minor
        going.target = head.target
        if not permit.route.forward_credential:
            going.target = without_parameters(head.target, self._parameters)
        going.set_fields(
            (name, value) for lower, name, value in head.fields if not is_of_handshake(lower)
        )
        going.body_length, going.expects_continue = 0, False
        going.keep_alive, going.upgrade = True, upgrade
        offered = offer(upgrade, may_compress=not _reads_messages(permit))
        return going, offered.fields

    def accept(self, exchange: Handshake, answer: ResponseHead) -> bytes | None:
        """The fields of the handshake for the client; None where `answer` is none to it."""
        _, upgrade, permit = _asked(exchange)
        agreed = agree(upgrade, offer(upgrade, may_compress=not _reads_messages(permit)), answer)
        return agreed.fields if isinstance(agreed, Agreement) else None

    def begin(
        self, exchange: Handshake, answer: ResponseHead, client: Handed, upstream: Handed
    ) -> None:
        """Both connections are there, and the client was told."""
        head, upgrade, permit = _asked(exchange)
        policy = permit.route.websocket
        agreed = agree(upgrade, offer(upgrade, may_compress=not _reads_messages(permit)), answer)
        if policy is None or not isinstance(agreed, Agreement):  # unreachable: see `accept`
            raise TypeError("a handshake that was accepted has an agreement")
        gate = None if self._gate_of is None else self._gate_of(permit, agreed.subprotocol)
        session = Session(
            self,
            Opened(
                head,
                exchange.peer,
                exchange.request_id,
                permit,
                policy,
                agreed,
                client,
                upstream,
                gate,
                _reads_messages(permit),
                exchange.trace,
                Journal() if self._keeps_journals else None,
            ),
        )
        self._sessions.add(session)
        self._sweeper.watch(session.alarms)
        session.begin()
        if self._is_draining:
            # Its handshake was under way when the others were told.
            session.leave()

    # -- For sessions -----------------------------------------------------------------------

    def reader_of(self, session: Session) -> Reader:
        """What reads the messages of a session that has to."""
        rule = session.opened.policy.reauthentication
        return Reader(self, session, None if rule is None else Fresh(self, session, rule))

    def report(self) -> Counts:
        """The counts, those of open WebSockets included."""
        for session in self._sessions:
            session.report()
        return self.counts

    def forget(self, session: Session) -> None:
        """Both connections of a session are gone."""
        if session not in self._sessions:
            return
        self._sessions.discard(session)
        self._sweeper.forget(session.alarms)
        self.budget.forget(session)
        session.report()
        route = session.permit.route.name
        self.counts.closes[session.cause, code_label(session.code), route] += 1
        self._ended(session)

    # -- listen.server.Relays ---------------------------------------------------------------

    def drain(self, seconds: float) -> None:
        """End all, one after the other, within this time."""
        self._is_draining = True
        self.lives.drain(seconds)

    def cut(self) -> None:
        """End all that are left, now; those too that only wait for an answer to their close."""
        self.lives.cut()
        for session in list(self._sessions):
            safely(session.life, session.cut)

    def retire_certified(self) -> None:
        """Other authorities are believed now: end those of certificates."""
        self.lives.retire_certified()


def _reads_messages(permit: Permit) -> bool:
    policy = permit.route.websocket
    return policy is not None and (policy.reads_messages or policy.reauthentication is not None)


def _asked(exchange: Handshake) -> tuple[RequestHead, Upgrade, Permit]:
    head, permit = exchange.head, exchange.permit
    if head.upgrade is None or permit is None:  # unreachable: only handshakes come here
        raise TypeError("not a permitted handshake")
    return head, head.upgrade, permit

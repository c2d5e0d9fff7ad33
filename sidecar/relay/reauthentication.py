"""A fresh credential, shown as a message on an open connection.

A connection outlives the token it was opened with only if somebody shows another one of the same
subject before. The message goes to us and not to the application; we answer with messages of our
own: ``sidecar.authenticated``, ``sidecar.refused`` and, before the end, ``sidecar.expiring``.
"""

import asyncio
import logging
import math
from copy import copy
from typing import TYPE_CHECKING, Any, Final

import msgspec

from sidecar.authorize.permit import Permit
from sidecar.clock import NEVER, wall
from sidecar.model.decision import Denial, Principal
from sidecar.model.head import RequestHead, Upgrade
from sidecar.model.need import SessionNeed, TokenNeed
from sidecar.model.peer import Peer
from sidecar.model.websocket import Reauthentication
from sidecar.relay.closing import TEXT
from sidecar.relay.gate import Kind
from sidecar.relay.life import Before

if TYPE_CHECKING:
    from sidecar.relay.opening import Relay
    from sidecar.relay.session import Session

_LOG: Final = logging.getLogger(__name__)
_ANOTHER: Final = "another-subject"
_BUSY: Final = "one-at-a-time"
_TOO_OFTEN: Final = "too-often"
# Credentials last for minutes. Each that is tried may cost reads of the stores or the check of a
# signature, on a connection that no limit of requests counts.
_MOST_AT_ONCE: Final = 10.0
_SECONDS_EACH: Final = 6.0


class Candidate:
    """A connection as it would be with another credential (`pipeline.Asker`)."""

    def __init__(self, head: RequestHead, peer: Peer, request_id: bytes) -> None:
        self.head = head
        self.peer = peer
        self.request_id = request_id


class Fresh:
    """Takes such messages of one session.

    Args:
        relay: what all sessions share.
        session: the session.
        rule: how the message looks.

    Attributes:
        due: instant of the loop's clock at which the client is to be told; `NEVER` for none.
    """

    __slots__ = ("_allowed", "_allowed_at", "_relay", "_rule", "_session", "_task", "due")

    def __init__(self, relay: "Relay", session: "Session", rule: Reauthentication) -> None:
        self._relay = relay
        self._session = session
        self._rule = rule
        self._task: asyncio.Task[None] | None = None
        self._allowed, self._allowed_at = _MOST_AT_ONCE, relay.now()
        self.due = NEVER
        self.expect()

    def expect(self) -> None:
        """When the life ends may have changed."""
        ends, before = self._session.permit.expires_at, self._rule.announce_seconds
        if not before or ends == math.inf:
            self.due = NEVER
            return
        self.due = self._relay.now() + max(0.0, ends - before - wall())

    def announce(self) -> None:
        """Tell the client that its end is near."""
        self.due = NEVER
        seconds = max(0, round(self._session.permit.expires_at - wall()))
        self._say({"type": "sidecar.expiring", "seconds": seconds})

    def takes(self, kind: Kind, payload: bytes) -> bool:
        """Whether this is such a message; then it is acted upon."""
        if kind is not Kind.TEXT or not payload.lstrip().startswith(b"{"):
            return False
        try:
            document = msgspec.json.decode(payload)
        except (msgspec.DecodeError, RecursionError):
            return False
        if _at(document, self._rule.kind_at) != self._rule.kind:
            return False
        token = _at(document, self._rule.token_at)
        if self._task is not None:
            self._refuse(_BUSY)
        elif not isinstance(token, str):
            self._refuse("malformed-credential")
        else:
            need = self._relay.lives.shown_later(token)
            if isinstance(need, Denial):
                self._refuse(need.reason)
            elif need == self._session.life.credential:
                # It was asked about when this message came.
                self._accept()
            elif self._is_too_often():
                self._refuse(_TOO_OFTEN)
            else:
                self._task = asyncio.get_running_loop().create_task(self._try(need))
        return True

    def _is_too_often(self) -> bool:
        now = self._relay.now()
        more = (now - self._allowed_at) / _SECONDS_EACH
        self._allowed, self._allowed_at = min(_MOST_AT_ONCE, self._allowed + more), now
        if self._allowed < 1.0:
            return True
        self._allowed -= 1.0
        return False

    async def _try(self, need: SessionNeed | TokenNeed) -> None:
        life = self._session.life
        head = copy(life.head)
        upgrade = head.upgrade
        head.upgrade = Upgrade(
            b"" if upgrade is None else upgrade.key,
            () if upgrade is None else upgrade.subprotocols,
        )
        head.upgrade.presented = need
        before = life.before()
        try:
            verdict = await self._relay.lives.settle(Candidate(head, life.peer, life.request_id))
            self._conclude(head, verdict, before)
        except Exception:  # noqa: BLE001 - whatever broke, the client would wait for an answer
            _LOG.exception("a fresh credential of request %s could not be tried", life.request_id)
            self._session.ending.break_down()
        finally:
            self._task = None

    def _conclude(self, head: RequestHead, verdict: Permit | Denial, before: Before) -> None:
        life = self._session.life
        if life.is_over:
            return
        if isinstance(verdict, Denial):
            self._refuse(verdict.reason)
        elif not _is_same(verdict.principal, life.permit.principal):
            self._refuse(_ANOTHER)
        else:
            self._take(head, verdict, before)

    def _take(self, head: RequestHead, permit: Permit, before: Before) -> None:
        self._relay.lives.replace(self._session.life, head, permit, before)
        self.expect()
        self._session.alarms.arm()
        self._accept()

    def _accept(self) -> None:
        self._count("reauthenticated")
        if self._session.journal is not None:
            self._session.journal.add_renewal()
        expires_at = self._session.life.permit.expires_at
        ends = None if expires_at == math.inf else int(expires_at)
        self._say({"type": "sidecar.authenticated", "expires_at": ends})

    def _refuse(self, reason: str) -> None:
        self._count("reauthentication-refused")
        if self._session.journal is not None:
            self._session.journal.add_renewal(reason)
        self._say({"type": "sidecar.refused", "reason": reason})

    def _count(self, outcome: str) -> None:
        route = self._session.permit.route.name
        self._relay.counts.messages["client", outcome, route] += 1

    def _say(self, message: dict[str, Any]) -> None:
        self._session.client.say(TEXT, msgspec.json.encode(message))


def _at(document: Any, members: tuple[str, ...]) -> Any:
    """What stands at a place in objects; None for nothing."""
    for member in members:
        if not isinstance(document, dict):
            return None
        document = document.get(member)
    return document


def _is_same(one: Principal | None, other: Principal | None) -> bool:
    return (
        one is not None
        and other is not None
        and (one.tenant, one.subject) == (other.tenant, other.subject)
    )

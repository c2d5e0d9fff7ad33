"""The gate of one connection: reads its messages, finds their rules, asks the principal's grants.

What was found out about the principal is remembered until it is `renewed`: a permission asked for
a second time is one look-up. Whether the grants still stand is asked for each message that needs
one, so nothing remembered outlives a change.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from sidecar.authorize.permit import Permit
from sidecar.authorize.subject import Subject
from sidecar.model.decision import Denial, Missing
from sidecar.model.facts import Effect
from sidecar.model.need import Found, Need
from sidecar.relay.gate import ALLOW, Close, Direction, Drop, Kind, Verdict
from sidecar.relay.message.call import FORBIDDEN_CODE, Calls, Reader, close_unreadable, first_of
from sidecar.relay.message.refusal import Refusal, UnreadableError
from sidecar.relay.message.rules import Captured, RuleSet

_DENY: Final = str(Effect.DENY)
# Permissions of which a connection remembers whether they are granted: 0.2 KB each.
_MOST_REMEMBERED: Final = 128
# 1011 (RFC 6455 section 7.4.1): something unexpected here. 4401 as for a revoked session.
_BROKEN: Final = Close(Refusal.INTERNAL_ERROR.value, 1011, Refusal.INTERNAL_ERROR.value)
_EXPIRED: Final = Close(Refusal.EXPIRED.value, 4401, Refusal.EXPIRED.value)

_Asked = tuple[str, str]


class Grants(Protocol):
    """Knows what principals may do now; shared by all connections."""

    def stands(self, subject: Subject) -> bool:
        """Whether nothing has changed since `subject` was found out, as far as that is known."""
        ...

    def find(
        self, permit: Permit, facts: Mapping[Need, Found | Denial]
    ) -> Subject | Denial | Missing:
        """What the principal of `permit` may do now.

        Args:
            permit: of the connection.
            facts: what was loaded for that; goes before memory.
        """
        ...


class MessageGate:
    """Judges the messages of one connection (`sidecar.relay.gate.Gate`).

    Args:
        permit: of the connection.
        rules: of its route.
        reader: of the route's protocol, made for this connection.
        grants: knows what principals may do.
        refused: how the client is told: ``reply`` in its protocol, ``drop`` not at all, ``close``.
        longest_bytes: longer messages are refused unread.
    """

    __slots__ = (
        "_facts",
        "_grants",
        "_longest_bytes",
        "_permit",
        "_reader",
        "_refused",
        "_remembered",
        "_rules",
        "_subject",
        "_was_loaded",
    )

    def __init__(
        self,
        permit: Permit,
        rules: RuleSet,
        reader: Reader,
        grants: Grants,
        refused: str,
        longest_bytes: int,
    ) -> None:
        self._permit = permit
        self._rules = rules
        self._reader = reader
        self._grants = grants
        self._refused = refused
        self._longest_bytes = longest_bytes
        self._subject: Subject | None = None
        self._remembered: dict[_Asked, Refusal | None] = {}
        self._facts: Mapping[Need, Found | Denial] = {}
        self._was_loaded = False

    def judge(self, direction: Direction, kind: Kind, payload: bytes) -> Verdict:
        """Whether this message may go on; as `Gate.judge`."""
        if direction is Direction.SERVER and not self._rules.reads_server:
            return ALLOW
        try:
            calls = self._read(direction, kind, payload)
            verdict = self._decide(direction, calls)
            if verdict is ALLOW:
                self._reader.allowed(direction, calls)
        except UnreadableError as wrong:
            return self._unreadable(direction, wrong)
        except Exception:  # noqa: BLE001 - whatever broke, the message goes nowhere
            return _BROKEN
        return verdict

    def loaded(self, facts: Mapping[Need, Found | Denial]) -> None:
        """Take what was missing; as `Gate.loaded`."""
        self._facts = {**self._facts, **facts}
        self._was_loaded = True

    def renewed(self, permit: Permit) -> None:
        """Forget what the principal could do; as `Gate.renewed`."""
        self._permit = permit
        self._forget()

    def _read(self, direction: Direction, kind: Kind, payload: bytes) -> Calls:
        if len(payload) > self._longest_bytes:
            raise UnreadableError("too long", refusal=Refusal.TOO_LARGE)
        calls = self._reader.read(direction, kind, payload)
        if not calls:
            raise UnreadableError("it says nothing")
        return calls

    def _decide(self, direction: Direction, calls: Calls) -> Verdict:
        refusals: list[Refusal | None] = [None] * len(calls)
        asked: dict[int, _Asked] = {}
        for at, call in enumerate(calls):
            found = self._rules.find(direction, call)
            if found is None:
                if not self._rules.allows_unknown(direction, call):
                    refusals[at] = Refusal.UNKNOWN_TYPE
                continue
            rule, captured = found
            if rule.is_forbidden:
                refusals[at] = Refusal.FORBIDDEN
            elif rule.action:
                resource = rule.resource_of(call, captured, self._of_route())
                if resource is None:
                    refusals[at] = Refusal.UNCLEAR_RESOURCE
                else:
                    asked[at] = (rule.action, resource)
        if asked:
            unknown = self._check(asked, refusals)
            if unknown is not None:
                return unknown
        if any(refusals):
            return self._refuse(direction, calls, refusals)
        return ALLOW

    def _of_route(self) -> Captured:
        return self._permit.parameters

    def _check(
        self, asked: Mapping[int, _Asked], refusals: list[Refusal | None]
    ) -> Missing | Close | None:
        """Fill in what is refused; or say why nobody knows."""
        subject = self._find_subject()
        if isinstance(subject, Missing | Close):
            return subject
        if isinstance(subject, Refusal):
            for at in asked:
                refusals[at] = subject
            return None
        remembered = self._remembered
        new = [each for each in dict.fromkeys(asked.values()) if each not in remembered]
        if new:
            if len(remembered) + len(new) > _MOST_REMEMBERED:
                remembered.clear()
                new = list(dict.fromkeys(asked.values()))
            for each, origin in zip(new, subject.check_many(new), strict=True):
                if origin is None:
                    remembered[each] = Refusal.NOT_GRANTED
                elif origin.effect == _DENY:
                    remembered[each] = Refusal.DENIED_BY_RULE
                else:
                    remembered[each] = None
        for at, each in asked.items():
            refusals[at] = remembered[each]
        return None

    def _find_subject(self) -> Subject | Refusal | Missing | Close:
        """Who asks, with grants that stand now."""
        if self._subject is not None and self._grants.stands(self._subject):
            return self._subject
        if self._permit.principal is None:
            return Refusal.NOT_GRANTED
        was_loaded, facts = self._was_loaded, self._facts
        self._forget()
        found = self._grants.find(self._permit, facts)
        if isinstance(found, Missing):
            if was_loaded and not facts:
                return Refusal.STORES_UNAVAILABLE
            # Facts that came are not asked for again.
            self._facts = facts
            return found
        if isinstance(found, Denial):
            return _EXPIRED
        self._subject = found
        return found

    def _forget(self) -> None:
        self._subject = None
        self._remembered.clear()
        self._facts = {}
        self._was_loaded = False

    def _refuse(
        self, direction: Direction, calls: Calls, refusals: list[Refusal | None]
    ) -> Drop | Close:
        # Of a batch nothing goes on.
        told = [each or Refusal.BATCH_REFUSED for each in refusals]
        label = first_of(told)
        if direction is Direction.SERVER:
            return self._reader.withheld(calls, told)
        if self._refused == "close":
            return Close(label.value, FORBIDDEN_CODE, label.value)
        if self._refused == "drop":
            return Drop(label.value)
        return self._reader.refused(calls, told)

    def _unreadable(self, direction: Direction, wrong: UnreadableError) -> Drop | Close:
        if direction is Direction.SERVER:
            return Drop(wrong.refusal.value)
        if self._refused == "drop" and not wrong.close_code:
            return Drop(wrong.refusal.value)
        if self._refused == "close":
            return close_unreadable(wrong)
        return self._reader.unreadable(wrong)

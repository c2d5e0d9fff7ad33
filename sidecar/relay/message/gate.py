"""The gate of one connection: reads its messages, finds their rules, asks the principal's grants.

A permit brings its subject with all that is granted to it, so nothing has to be loaded for a
message. The relay asks before each read whether the permit still stands (`sidecar.relay.life`), and
hands in another when it does not; what was remembered about the principal then goes.
"""

from collections.abc import Mapping
from typing import Final

from sidecar.authorize.permit import Permit
from sidecar.model.decision import Denial, RuleOrigin
from sidecar.model.facts import Effect
from sidecar.model.need import Found, Need
from sidecar.relay.gate import ALLOW, Close, Direction, Drop, Kind, Verdict
from sidecar.relay.message.call import Calls, Reader, close_code, close_unreadable, first_of
from sidecar.relay.message.refusal import Refusal, UnreadableError
from sidecar.relay.message.rules import RuleSet
from sidecar.relay.message.schema import MessageSchema

_DENY: Final = str(Effect.DENY)
# Permissions of which a connection remembers whether they are granted. Clients choose resources,
# and connections are many: this is at most 16 KB of each.
_MOST_REMEMBERED: Final = 32
_LONGEST_REMEMBERED: Final = 256
# 1011 (RFC 6455 section 7.4.1): something unexpected here.
_BROKEN: Final = Close(Refusal.INTERNAL_ERROR.value, 1011, Refusal.INTERNAL_ERROR.value)
# 4406 (graphql-ws, "Subprotocol not acceptable"), after HTTP's "Not Acceptable".
_WRONG_SUBPROTOCOL: Final = Close(
    Refusal.WRONG_SUBPROTOCOL.value, 4406, Refusal.WRONG_SUBPROTOCOL.value
)

# Action, resource.
_Asked = tuple[str, str]


class MessageGate:
    """Judges the messages of one connection (`sidecar.relay.gate.Gate`).

    Args:
        permit: of the connection.
        rules: of its route.
        reader: of the route's protocol, made for this connection.
        refused: how the client is told: ``reply`` in its protocol, ``drop`` not at all, ``close``.
        longest_bytes: longer messages are refused unread.
    """

    __slots__ = (
        "_longest_bytes",
        "_permit",
        "_reader",
        "_refused",
        "_remembered",
        "_rules",
    )

    def __init__(
        self,
        permit: Permit,
        rules: RuleSet,
        reader: Reader,
        refused: str,
        longest_bytes: int,
    ) -> None:
        self._permit = permit
        self._rules = rules
        self._reader = reader
        self._refused = refused
        self._longest_bytes = longest_bytes
        self._remembered: dict[_Asked, Refusal | None] = {}

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
        """Nothing is ever missing; as `Gate.loaded`."""

    def renewed(self, permit: Permit) -> None:
        """Forget what the principal could do; as `Gate.renewed`."""
        self._permit = permit
        self._remembered.clear()

    def _read(self, direction: Direction, kind: Kind, payload: bytes) -> Calls:
        if len(payload) > self._longest_bytes:
            raise UnreadableError("too long", refusal=Refusal.TOO_LARGE)
        calls = self._reader.read(direction, kind, payload)
        if not calls:
            raise UnreadableError("it says nothing")
        return calls

    def _decide(self, direction: Direction, calls: Calls) -> Verdict:
        parameters = self._permit.parameters
        refusals: list[Refusal | None] = [None] * len(calls)
        asked: dict[int, _Asked] = {}
        formed: dict[int, MessageSchema] = {}
        for at, call in enumerate(calls):
            try:
                found = self._rules.find(direction, call)
                if found is None:
                    if not self._rules.allows_unknown(direction, call):
                        refusals[at] = Refusal.UNKNOWN_TYPE
                    continue
                rule, captured = found
                if rule.schema is not None:
                    formed[at] = rule.schema
                if rule.is_forbidden:
                    refusals[at] = Refusal.FORBIDDEN
                elif rule.action:
                    resource = rule.resource_of(call, captured, parameters)
                    if resource is None:
                        refusals[at] = Refusal.UNCLEAR_RESOURCE
                    else:
                        asked[at] = (rule.action, resource)
            except UnreadableError as wrong:
                # Told as a refusal of this call, with its id: nobody shall wait for ever.
                refusals[at] = wrong.refusal
        if asked:
            self._check(asked, refusals)
        for at, schema in formed.items():
            # Last: who may not send it at all learns nothing about its form.
            if refusals[at] is None and not schema.accepts(calls[at]):
                refusals[at] = Refusal.INVALID
        if any(refusals):
            return self._refuse(direction, calls, refusals)
        return ALLOW

    def _check(self, asked: Mapping[int, _Asked], refusals: list[Refusal | None]) -> None:
        """Fill in what is refused: one question for all of a batch that nobody asked before."""
        subject = self._permit.subject
        if subject is None:
            for at in asked:
                refusals[at] = Refusal.NOT_GRANTED
            return
        remembered = self._remembered
        answers: dict[_Asked, Refusal | None] = {}
        new: list[_Asked] = []
        for each in asked.values():
            if each in remembered:
                answers[each] = remembered[each]
            elif each not in answers:
                answers[each] = None
                new.append(each)
        if new:
            for each, origin in zip(new, subject.check_many(new), strict=True):
                answers[each] = _refusal_of(origin)
            self._remember(new, answers)
        for at, each in asked.items():
            refusals[at] = answers[each]

    def _remember(self, new: list[_Asked], answers: Mapping[_Asked, Refusal | None]) -> None:
        remembered = self._remembered
        if len(remembered) + len(new) > _MOST_REMEMBERED:
            remembered.clear()
        for each in new[:_MOST_REMEMBERED]:
            if len(each[1]) <= _LONGEST_REMEMBERED:
                remembered[each] = answers[each]

    def _refuse(
        self, direction: Direction, calls: Calls, refusals: list[Refusal | None]
    ) -> Drop | Close:
        # Of a batch nothing goes on.
        told = [each or Refusal.BATCH_REFUSED for each in refusals]
        label = first_of(told)
        if direction is Direction.SERVER:
            return self._reader.withheld(calls, told)
        if self._refused == "close":
            return Close(label.value, close_code(label), label.value)
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


def _refusal_of(origin: RuleOrigin | None) -> Refusal | None:
    """What the rule that decided says; there is none for what was not granted."""
    if origin is None:
        return Refusal.NOT_GRANTED
    return Refusal.DENIED_BY_RULE if origin.effect == _DENY else None


class ClosedGate:
    """The gate of a connection whose protocol nobody can read."""

    __slots__ = ()

    def judge(self, direction: Direction, kind: Kind, payload: bytes) -> Verdict:  # noqa: ARG002 - the contract's
        """End the connection; as `Gate.judge`."""
        return _WRONG_SUBPROTOCOL

    def loaded(self, facts: Mapping[Need, Found | Denial]) -> None:
        """Nothing is ever missing."""

    def renewed(self, permit: Permit) -> None:
        """No permit opens it."""

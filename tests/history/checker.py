"""Judges a recorded history of answers: one pass, no clock, no I/O (PROMISES 13 and 14).

Events come in the order in which one thread recorded them, so an answer that was asked for after an
acknowledgement stands behind it. Two rules, both about answers that came from somebody who had been
asked after a change bound everybody (`applied`: at once; `published`: one lease later):

- *outdated*: the answer's version is older than that change;
- *authorized*: the answer is "active", the change took that away, and until the answer nobody had
  begun to give it back. This one does not believe the versions that the product reports.

No margin is added to the lease: it is counted from before Redis heard of the change, and all clocks
are one, so scheduling can only make leases shorter. The product keeps 5 % of it as its own margin.
Each event costs constant time.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Begun(NamedTuple):
    """An administrator is about to enable (`active`) or disable a user."""

    at: float
    user: str
    active: bool


class Reached(NamedTuple):
    """The change of `user` to `active`, numbered `version`, was acknowledged."""

    at: float
    user: str
    active: bool
    version: int
    applied: bool


class Asked(NamedTuple):
    """A client begins to ask `sidecar` whether `user` is active."""

    at: float
    request: int
    sidecar: int
    user: str


class Answered(NamedTuple):
    """The answer to `request`, and the cache tier it came from."""

    at: float
    request: int
    active: bool
    version: int
    tier: str


class Unanswered(NamedTuple):
    """The stores were unavailable: nobody was let in."""

    at: float
    request: int


class Disturbed(NamedTuple):
    """What the nemesis did. Judged by nobody; told in stories."""

    at: float
    what: str


Event = Begun | Reached | Asked | Answered | Unanswered | Disturbed


class Violation(NamedTuple):
    """A broken promise: `answered`, although `asked` after `bound` bound everybody at `since`."""

    rule: str
    asked: Asked
    answered: Answered
    bound: Reached
    since: float


class _Bound(NamedTuple):
    change: Reached
    since: float


@dataclass(slots=True)
class _User:
    """What is certain about a user: the newest change that binds, and a disabling that stands."""

    newest: _Bound | None = None
    disabled: _Bound | None = None
    enablings: int = 0


class _Open(NamedTuple):
    asked: Asked
    newest: _Bound | None
    disabled: _Bound | None
    enablings: int


class Checker:
    """Sees one event after the other.

    Args:
        lease_seconds: how long after `published` an old answer is still allowed.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._lease = lease_seconds
        self._users: dict[str, _User] = {}
        self._open: dict[int, _Open] = {}
        # Published changes that do not bind yet, with the number of enablings begun before. All
        # wait equally long, so the first to come is the first to go.
        self._waiting: deque[tuple[_Bound, int]] = deque()

    def see(self, event: Event) -> list[Violation]:
        """The next event; returns the promises that it breaks."""
        match event:
            case Begun(user=user, active=True):
                one = self._user(user)
                one.enablings += 1
                one.disabled = None
            case Reached(applied=True):
                self._bind(_Bound(event, event.at), self._user(event.user).enablings)
            case Reached():
                bound = _Bound(event, event.at + self._lease)
                self._waiting.append((bound, self._user(event.user).enablings))
            case Asked():
                while self._waiting and self._waiting[0][0].since < event.at:
                    self._bind(*self._waiting.popleft())
                one = self._user(event.user)
                self._open[event.request] = _Open(event, one.newest, one.disabled, one.enablings)
            case Answered():
                return self._judge(self._open.pop(event.request), event)
            case Unanswered():
                del self._open[event.request]
            case _:
                pass
        return []

    def _user(self, name: str) -> _User:
        return self._users.setdefault(name, _User())

    def _bind(self, bound: _Bound, enablings: int) -> None:
        one = self._user(bound.change.user)
        if one.newest is None or bound.change.version >= one.newest.change.version:
            one.newest = bound
        if not bound.change.active and one.enablings == enablings:
            one.disabled = bound

    def _judge(self, open_: _Open, answered: Answered) -> list[Violation]:
        found = []
        newest, disabled = open_.newest, open_.disabled
        if newest is not None and answered.version < newest.change.version:
            found.append(("outdated", newest))
        unchanged = self._user(open_.asked.user).enablings == open_.enablings
        if answered.active and disabled is not None and unchanged:
            found.append(("authorized", disabled))
        return [
            Violation(rule, open_.asked, answered, bound.change, bound.since)
            for rule, bound in found
        ]


def violations(history: Iterable[Event], lease_seconds: float) -> list[Violation]:
    """All broken promises in `history`, in the order of the answers."""
    checker = Checker(lease_seconds)
    return [violation for event in history for violation in checker.see(event)]


def story(history: Iterable[Event], violation: Violation, seconds: float = 1.0) -> str:
    """What happened to the user and its surroundings until `violation`, one event a line."""
    start = min(violation.bound.at, violation.asked.at) - seconds
    end = violation.answered.at
    requests: dict[int, Asked] = {}
    lines = [f"{violation.rule}: {violation}"]
    for event in history:
        if isinstance(event, Asked):
            requests[event.request] = event
        if start <= event.at <= end and _concerns(event, violation.asked, requests):
            lines.append(f"{(event.at - end) * 1000:9.1f} ms  {event._replace(at=0.0)}")
    return "\n".join(lines)


def _concerns(event: Event, asked: Asked, requests: dict[int, Asked]) -> bool:
    match event:
        case Disturbed():
            return True
        case Begun(user=user) | Reached(user=user):
            return user == asked.user
        case _:
            whom = requests.get(event.request)
            return whom is not None and whom[2:] == asked[2:]

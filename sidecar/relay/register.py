"""All open connections: whom a change concerns, and when their permits end."""

import heapq
import math
from collections.abc import Hashable, Iterable, Iterator
from itertools import count
from typing import Final, Protocol

from sidecar.model.change import ChangeKind
from sidecar.relay.life import Life

# As many are not worth the work.
_FEW_STRUCK: Final = 64


class Heard(Protocol):
    """News of a change (`sync.keyspace.News`)."""

    @property
    def shard(self) -> int:
        """Its shard."""

    @property
    def kind(self) -> ChangeKind:
        """What it is about."""

    @property
    def tenant(self) -> str:
        """Whose."""

    @property
    def subject(self) -> str:
        """The user."""

    @property
    def payload(self) -> bytes:
        """The digest of a session's token."""

    @property
    def published_ms(self) -> int:
        """When it was published, by the publisher's clock; 0 for not at all."""


class _End:
    """When a permit ends, at the earliest.

    Attributes:
        at: wall-clock instant.
        life: whose permit; None once nobody has to look.
    """

    __slots__ = ("at", "life")

    def __init__(self, at: float, life: Life) -> None:
        self.at = at
        self.life: Life | None = life


class Register:
    """An index of lives by session, token, user and tenant, and a heap of their ends.

    Each life has one place in the heap. A permit that ends later than the one before it leaves the
    place as it is: it is looked at then, and put off. What is struck out holds no life, and goes
    when it is the larger part.
    """

    def __init__(self) -> None:
        self._all: dict[Life, tuple[Hashable, ...]] = {}
        self._index: dict[Hashable, set[Life]] = {}
        self._ends: list[tuple[float, int, _End]] = []
        self._end_of: dict[Life, _End] = {}
        self._struck = 0
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Life]:
        return iter(self._all)

    def add(self, life: Life) -> None:
        """It is open."""
        self._all[life] = keys = _keys(life)
        for key in keys:
            self._index.setdefault(key, set()).add(life)
        self.expect_end(life)

    def discard(self, life: Life) -> None:
        """It is gone, or depends on something else from now on."""
        for key in self._all.pop(life, ()):
            concerned = self._index.get(key)
            if concerned is not None:
                concerned.discard(life)
                if not concerned:
                    del self._index[key]
        self._strike(life)

    def concerned(self, news: Heard) -> Iterable[Life]:
        """Exactly those that depend on what has changed."""
        match news.kind:
            case ChangeKind.SESSION:
                return self._index.get(news.payload, ())
            case ChangeKind.USER:
                return self._index.get((news.tenant, news.subject), ())
            case ChangeKind.ROLES | ChangeKind.TENANT:
                return self._index.get(news.tenant, ())
            case ChangeKind.FLUSH:
                return [life for life in self._all if life.shard == news.shard]
            case _:
                return ()

    def expect_end(self, life: Life) -> None:
        """When its permit ends may have changed; nothing for who is gone."""
        if life not in self._all:
            return
        ends = life.permit.expires_at
        known = self._end_of.get(life)
        if known is not None:
            if known.at <= ends:
                return
            self._strike(life)
        if ends != math.inf:
            self._end_of[life] = end = _End(ends, life)
            heapq.heappush(self._ends, (ends, next(self._numbers), end))

    def ended(self, now: float) -> Iterator[Life]:
        """Those whose permits have ended since that was last asked; `now` by the wall clock."""
        while self._ends and self._ends[0][0] <= now:
            life = heapq.heappop(self._ends)[2].life
            if life is None:
                self._struck -= 1
                continue
            del self._end_of[life]
            if life.permit.expires_at <= now:
                yield life
            else:
                self.expect_end(life)

    def _strike(self, life: Life) -> None:
        end = self._end_of.pop(life, None)
        if end is None:
            return
        end.life = None
        self._struck += 1
        if self._struck > _FEW_STRUCK and 2 * self._struck > len(self._ends):
            self._ends = [each for each in self._ends if each[2].life is not None]
            heapq.heapify(self._ends)
            self._struck = 0


def _keys(life: Life) -> tuple[Hashable, ...]:
    principal = life.permit.principal
    if principal is None:
        return ()
    keys: tuple[Hashable, ...] = ((principal.tenant, principal.subject), principal.tenant)
    if life.credential is not None:
        # The digest of a session's token, or of a JWT.
        keys = (*keys, life.credential[0])
    return keys

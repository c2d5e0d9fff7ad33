"""All open connections: whom a change concerns, and when their permits end."""

import heapq
import math
from collections.abc import Hashable, Iterable, Iterator
from itertools import count
from typing import Protocol

from sidecar.model.change import ChangeKind
from sidecar.relay.life import Life


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


class Register:
    """An index of lives by session, token, user and tenant, and a heap of their ends."""

    def __init__(self) -> None:
        self._all: dict[Life, None] = {}
        self._index: dict[Hashable, set[Life]] = {}
        self._ends: list[tuple[float, int, Life]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Life]:
        return iter(self._all)

    def add(self, life: Life) -> None:
        """It is open."""
        self._all[life] = None
        for key in _keys(life):
            self._index.setdefault(key, set()).add(life)
        self.expect_end(life)

    def discard(self, life: Life) -> None:
        """It is gone, or depends on something else from now on."""
        self._all.pop(life, None)
        for key in _keys(life):
            concerned = self._index.get(key)
            if concerned is not None:
                concerned.discard(life)
                if not concerned:
                    del self._index[key]

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
        """When its permit ends may have changed."""
        ends = life.permit.expires_at
        if ends != math.inf:
            heapq.heappush(self._ends, (ends, next(self._numbers), life))

    def ended(self, now: float) -> Iterator[Life]:
        """Those whose permits have ended since that was last asked; `now` by the wall clock."""
        while self._ends and self._ends[0][0] <= now:
            _, _, life = heapq.heappop(self._ends)
            if not life.is_over and life.permit.expires_at <= now:
                yield life


def _keys(life: Life) -> tuple[Hashable, ...]:
    principal = life.permit.principal
    if principal is None:
        return ()
    keys: tuple[Hashable, ...] = ((principal.tenant, principal.subject), principal.tenant)
    if life.credential is not None:
        # The digest of a session's token, or of a JWT.
        keys = (*keys, life.credential[0])
    return keys

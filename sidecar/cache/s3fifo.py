"""A bounded map that keeps what is used again: S3-FIFO.

Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023. New keys wait in a small
queue (a tenth of the room); only those asked for again there move on to the main queue. Keys which
fell out of the small queue are remembered as ghosts, and enter the main queue directly when they
return. So a flood of keys seen once (random tokens) passes through the tenth and evicts nothing
that is in use. A hit writes one small integer and moves nothing, which is why it is cheap.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from itertools import chain, islice
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# Two bits of frequency (section 4.1 of the paper): more makes evicting slower and not better.
_MOST_USES: Final = 3
_OFTEN_USED: Final = 2
# Used more than once in the small queue: worth a place in the main queue (algorithm 1).
_WORTH_KEEPING: Final = 2
# Removed entries stay in their queue until they come out of it or outnumber the living by this.
_TOMBSTONES: Final = 32


class _Entry(Generic[K, V]):
    __slots__ = ("alive", "key", "main", "uses", "value")

    def __init__(self, key: K, value: V) -> None:
        self.key = key
        self.value: V | None = value
        self.uses = 0
        self.alive = True
        self.main = False


class S3Fifo(Generic[K, V]):
    """A map of at most `capacity` entries.

    Attributes:
        capacity: the bound, in entries.
        hits: calls of `get` that found something.
        misses: calls of `get` that found nothing.
        evictions: entries that left to make room (not those deleted).
    """

    __slots__ = (
        "_entries",
        "_ghosts",
        "_ghosts_most",
        "_main",
        "_main_alive",
        "_main_most",
        "_small",
        "_small_alive",
        "_small_most",
        "capacity",
        "evictions",
        "hits",
        "misses",
    )

    def __init__(self, capacity: int) -> None:
        """Make an empty map.

        Raises:
            ValueError: if `capacity` is less than 1.
        """
        if capacity < 1:
            raise ValueError(f"a cache holds at least one entry, not {capacity}")
        self.capacity = capacity
        self.hits = self.misses = self.evictions = 0
        self._small_most = max(1, capacity // 10)
        self._main_most = max(1, capacity - self._small_most)
        self._ghosts_most = self._main_most
        self.clear()

    def clear(self) -> None:
        """Forget all entries and ghosts; the counters stay."""
        self._entries: dict[K, _Entry[K, V]] = {}
        self._small: deque[_Entry[K, V]] = deque()
        self._main: deque[_Entry[K, V]] = deque()
        self._small_alive = self._main_alive = 0
        # Hashes instead of keys: a ghost needs no more, and a collision only keeps a key longer.
        self._ghosts: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        """Whether `key` is here; counts nothing."""
        return key in self._entries

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def get(self, key: K) -> V | None:
        """The value of `key`, or None."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        if entry.uses < _MOST_USES:
            entry.uses += 1
        return entry.value

    def peek(self, key: K) -> V | None:
        """As `get`, but neither counts nor keeps the entry alive."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def in_use(self, most: int, begin: int = 0) -> list[K]:
        """Up to `most` keys that were used several times lately, looking from `begin` on round."""
        entries = self._entries.items()
        around = chain(islice(entries, begin, None), islice(entries, begin))
        return list(islice((key for key, entry in around if entry.uses >= _OFTEN_USED), most))

    def uses(self, key: K) -> int:
        """How often `key` was found lately, up to 3; 0 where it is not here."""
        entry = self._entries.get(key)
        return 0 if entry is None else entry.uses

    def forget_use(self, key: K) -> None:
        """As if `key` had not been found since it was put."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.uses = 0

    def put(self, key: K, value: V) -> None:
        """Store or replace `key`, evicting others where there is no room."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.value = value
            return
        while len(self._entries) >= self.capacity:
            self._evict()
        entry = _Entry(key, value)
        self._entries[key] = entry
        self._came(key)
        if hash(key) in self._ghosts:
            del self._ghosts[hash(key)]
            self._admit(entry)
        else:
            self._small.append(entry)
            self._small_alive += 1

    def delete(self, key: K) -> bool:
        """Remove `key`; tells whether it was there."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        self._went(key)
        # It stays in its queue as a tombstone: taking it out of the middle would be O(n).
        entry.alive = False
        entry.value = None
        if entry.main:
            self._main_alive -= 1
            self._main = _swept(self._main, self._main_alive)
        else:
            self._small_alive -= 1
            self._small = _swept(self._small, self._small_alive)
        return True

    def _admit(self, entry: _Entry[K, V]) -> None:
        entry.main = True
        entry.uses = 0
        self._main.append(entry)
        self._main_alive += 1

    def _evict(self) -> None:
        if self._small_alive >= self._small_most or not self._main_alive:
            self._evict_small()
        else:
            self._evict_main()

    def _evict_small(self) -> None:
        """Move the used ones to the main queue, until one that was not is gone."""
        while self._small:
            entry = self._small.popleft()
            if not entry.alive:
                continue
            self._small_alive -= 1
            if entry.uses < _WORTH_KEEPING:
                self._remember(entry.key)
                self._forget(entry)
                return
            self._admit(entry)
            if self._main_alive > self._main_most:
                self._evict_main()
                return

    def _evict_main(self) -> None:
        """Take turns: each use buys one more round through the queue."""
        while self._main:
            entry = self._main.popleft()
            if not entry.alive:
                continue
            if not entry.uses:
                self._main_alive -= 1
                self._forget(entry)
                return
            entry.uses -= 1
            self._main.append(entry)

    def _forget(self, entry: _Entry[K, V]) -> None:
        del self._entries[entry.key]
        entry.alive = False
        self.evictions += 1
        self._went(entry.key)

    def _came(self, key: K) -> None:
        """`key` is new: for kinds that keep keys in another order, too."""

    def _went(self, key: K) -> None:
        """`key` was deleted or evicted; `clear` does not tell."""

    def _remember(self, key: K) -> None:
        self._ghosts[hash(key)] = None
        if len(self._ghosts) > self._ghosts_most:
            self._ghosts.popitem(last=False)


def _swept(queue: deque[_Entry[K, V]], alive: int) -> deque[_Entry[K, V]]:
    """`queue`, without its tombstones once they are many: amortised, a deletion stays O(1)."""
    if len(queue) <= 2 * alive + _TOMBSTONES:
        return queue
    return deque(entry for entry in queue if entry.alive)

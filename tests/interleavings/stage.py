"""Memory, flights, tiers and follower of one sidecar before stores that answer when they are told.

Time stands still but where a story puts it forward, and whatever can run has run before the next
event: what happens is decided by the story alone.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from sidecar.cache.following import Beat
from sidecar.cache.memory import Memory
from sidecar.model.change import ChangeKind
from sidecar.model.decision import Denial
from sidecar.model.errors import StoresUnavailable
from sidecar.model.facts import User, VerifiedToken
from sidecar.model.need import Absent, StoreNeed, TokenNeed, UserNeed
from sidecar.model.shard import SHARDS, shard_of
from sidecar.settings.schema import Cache, Features
from sidecar.sync.follower import Follower
from sidecar.sync.keyspace import Head, News, StoreFact
from sidecar.sync.redis_cache import Filling, Look, RedisCache
from sidecar.sync.tiers import Tiers

ANN: Final = UserNeed("acme", "ann")
SHARD: Final = shard_of("acme")
OLD: Final = User(version=1, tenant="acme", subject="ann")
NEW: Final = User(version=2, tenant="acme", subject="ann")
CHANGE: Final = News(1, SHARD, 2, ChangeKind.USER, "acme", "ann", 2, b"")
LEASE_SECONDS: Final = 1000.0
LOAD_SECONDS: Final = 10.0
# How deep callbacks may wake each other before a story goes on.
_TURNS: Final = 12


class StillLoop(asyncio.SelectorEventLoop):
    """A loop whose clock a story puts forward."""

    now = 0.0

    def time(self) -> float:
        return self.now


class Release:
    """Something that a store answers when the story says so."""

    def __init__(self, name: str, act: Callable[[], object]) -> None:
        self.name = name
        self._act = act
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def go(self) -> None:
        """It answers now. Nobody may be listening any more."""
        found = self._act()
        if not self.answer.done():
            self.answer.set_result(found)


class Stores:
    """PostgreSQL and Redis: what they hold, and which answers are on their way.

    A read of either is answered with what it held when it was asked, which is the oldest it may
    be; a fill takes effect when it arrives.
    """

    def __init__(self) -> None:
        self.truth = OLD
        self.on_the_way: list[Release] = []
        self.head = Head(1, 1)
        self.kept: User | None = None
        self._asked = 0

    def put_on_the_way(self, what: str, act: Callable[[], object]) -> Release:
        self._asked += 1
        release = Release(f"{what} {self._asked}", act)
        self.on_the_way.append(release)
        return release

    def told(self) -> None:
        """Redis is told of the change (R3)."""
        self.head, self.kept = Head(2, self.head.epoch), None

    def new_epoch(self) -> None:
        """Redis begins another life, with what PostgreSQL had by then."""
        self.head, self.kept = Head(self.truth.version, self.head.epoch + 1), None

    def fill(self, fact: User, head: Head) -> Filling:
        """R4."""
        if head != self.head:
            return Filling.HEAD
        self.kept = fact
        return Filling.DONE


class Primary:
    """PostgreSQL as `Tiers` sees it."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def read(self, need: StoreNeed) -> StoreFact | Absent:
        assert need == ANN
        found = self._stores.truth
        answer: StoreFact = await self._stores.put_on_the_way("PostgreSQL", lambda: found).answer
        return answer

    async def read_many(self, needs: Sequence[StoreNeed]) -> list[StoreFact | Absent]:
        found = await self.read(needs[0])
        return [found for _ in needs]


class Second(RedisCache):
    """Redis as `Tiers` sees it."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def look(self, need: StoreNeed) -> Look:
        assert need == ANN
        found = Look(self._stores.kept, self._stores.head)
        answer: Look = await self._stores.put_on_the_way("Redis", lambda: found).answer
        return answer

    async def look_many(self, needs: Sequence[StoreNeed]) -> list[Look]:
        look = await self.look(needs[0])
        return [look for _ in needs]

    async def fill_many(
        self, fills: Sequence[tuple[StoreNeed, StoreFact, Head]]
    ) -> list[Filling | None]:
        return [await self.fill(*fill) for fill in fills]

    async def fill(self, need: StoreNeed, fact: StoreFact, head: Head) -> Filling:
        assert need == ANN
        assert isinstance(fact, User)
        fill = self._stores.put_on_the_way("fill", lambda: self._stores.fill(fact, head))
        answer: Filling = await fill.answer
        return answer


class Reader:
    """Somebody who asked.

    Attributes:
        owed: the lowest version it may be answered.
        answers: what it was answered; one entry in the end.
        gave_up: whether it went away instead.
    """

    def __init__(self, owed: int, asking: asyncio.Task[None]) -> None:
        self.owed = owed
        self.answers: list[int | None] = []
        self.gave_up = False
        self.asking = asking


class Stage:
    """One sidecar under the lease, with nothing in memory, and its stores.

    Args:
        tiers: the product's, or a broken one.
        redis: whether there is a second level, and whether it holds the fact.

    Attributes:
        heard: whether the news of the change has arrived.
        wrong: what must not have happened, as sentences.
    """

    def __init__(self, tiers: type[Tiers], *, redis: str, share: bool = True) -> None:
        self.stores = Stores()
        if redis == "filled":
            self.stores.kept = OLD
        self.memory = Memory(Cache(), jitter=lambda: 0.5)
        self.tiers = tiers(
            self.memory,
            Primary(self.stores),
            redis=None if redis == "none" else Second(self.stores),
            verify=_no_token,
            features=Features(single_flight=share),
            load_seconds=LOAD_SECONDS,
            instant=self.instant,
        )
        self.follower = Follower(self.memory, self.tiers, LEASE_SECONDS)
        self.readers: list[Reader] = []
        self._reading: list[asyncio.Task[list[StoreNeed]]] = []
        self.heard = False
        self.wrong: list[str] = []
        for _ in range(2):
            self.beat(range(SHARDS))

    def instant(self) -> float:
        return asyncio.get_running_loop().time()

    def beat(self, shards: range) -> None:
        """A heartbeat is sent, served and answered; what it shows to be missing is replayed."""
        now = self.instant()
        for shard in shards:
            head = self.stores.head if shard == SHARD else Head(1, self.stores.head.epoch)
            self.follower.beaten(shard, now, Beat(head.seq, head.epoch, ""), now)
        for missing in self.follower.missing(now, patience=0.0):
            self.heard = True
            self.follower.replay(missing, [CHANGE], now)

    def hear(self) -> None:
        """The news arrives, from Redis or from the writer in this very process."""
        self.heard = True
        epoch = self.stores.head.epoch if self.stores.head.seq == 2 else 0
        change = News(epoch, *(getattr(CHANGE, name) for name in CHANGE.__struct_fields__[1:8]))
        self.follower.apply(change, self.instant())

    def lapse(self) -> None:
        """A subscription was made anew."""
        self.follower.resubscribed()

    def is_leased(self) -> bool:
        return self.memory.is_leased(SHARD, self.instant())

    def come(self) -> None:
        """A reader comes. Without a lease it is owed what is true at this moment (R6, R8)."""
        owed = 2 if self.heard else 1
        if not self.is_leased():
            owed = self.stores.truth.version
        at = len(self.readers)
        self.readers.append(Reader(owed, asyncio.create_task(self._read(at))))

    async def _read(self, at: int) -> None:
        await asyncio.sleep(0)
        reader = self.readers[at]
        try:
            loaded = await self.tiers.load(ANN, self.instant())
        except StoresUnavailable:
            reader.answers.append(None)
            return
        assert isinstance(loaded.fact, User)
        reader.answers.append(loaded.fact.version)
        if loaded.fact.version < reader.owed:
            self.wrong.append(f"reader {at} was answered {loaded.fact.version}, owed {reader.owed}")

    def read_many(self) -> None:
        """As warming does."""
        self._reading.append(asyncio.create_task(self.tiers.load_many([ANN])))

    def give_up(self) -> None:
        """The first reader goes away."""
        self.readers[0].gave_up = True
        self.readers[0].asking.cancel()

    def time_out(self) -> None:
        """The bound of all reads in the air passes."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, StillLoop)
        loop.now += LOAD_SECONDS + 1.0

    async def settle(self) -> None:
        """Whatever can run runs; then memory is looked at."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        kept = self.memory.find(ANN, self.instant())
        if self.heard and isinstance(kept, User) and kept.version < 2:
            self.wrong.append("memory holds the old version after the news")

    async def end(self) -> None:
        """All answers arrive; everybody has been answered, once."""
        while self.stores.on_the_way:
            self.stores.on_the_way.pop(0).go()
            await self.settle()
        for at, reader in enumerate(self.readers):
            if reader.gave_up:
                reader.asking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reader.asking
            if len(reader.answers) != 1 and (reader.answers or not reader.gave_up):
                self.wrong.append(f"reader {at} has {len(reader.answers)} answers")
            elif not reader.asking.done():
                self.wrong.append(f"reader {at} still waits")
        if self.stores.head.seq == 2 and self.stores.kept == OLD:
            self.wrong.append("Redis holds the old version after it was told")
        for each in self._reading:
            await each
        if len(self.tiers._flights) or self.tiers._tasks:
            self.wrong.append("a read is still in the air")
        await self.tiers.close()


async def _no_token(need: TokenNeed) -> VerifiedToken | Denial:
    raise AssertionError(need)

"""Everything at one moment: PostgreSQL, Redis, the network between them and the sidecars."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from tests.model import sidecar as process
from tests.model.rules import LEASE_TICKS, OLD, D, Rules
from tests.model.server import FIRST_LIFE, NOTHING, Server
from tests.model.sidecar import Sidecar

NAMES: Final = "ABC"


class Budget(NamedTuple):
    """How often each thing may still happen."""

    commits: int = 1
    flushes: int = 0
    failovers: int = 0
    restarts: int = 0
    replacements: int = 0
    leaves: int = 0
    restores: int = 0


class Scenario(NamedTuple):
    """What a world may go through.

    Attributes:
        sidecars: how many there are at first.
        budget: how often each thing may happen.
        concerns: whether the n-th change is a revocation of the subject; another one is not, but
            has a sequence all the same.
        warm: whether the sidecars begin with the subject in memory, under a lease.
        stored: whether Redis begins with the subject.
        forgetful: whether a replay may find nothing, neither in the log nor in the outbox.
        slow: whether anything may happen while a replay asks the stores.
        hasty: whether relays may pause between seeing, asking PostgreSQL and telling Redis.
        own: whether the writer is sidecar A, which applies its change before Redis is told.
        timely: whether promise 14 is checked beside promise 13.
        prelude: the events that have happened already, each by the first words of its sentence.
    """

    sidecars: int = 1
    budget: Budget = Budget()
    concerns: tuple[bool, ...] = (True,)
    warm: bool = False
    stored: bool = False
    forgetful: bool = False
    slow: bool = False
    hasty: bool = False
    own: bool = False
    timely: bool = False
    prelude: tuple[str, ...] = ()


class Case(NamedTuple):
    """What is explored: what may happen, and which rules are kept."""

    scenario: Scenario
    rules: Rules


class Write(NamedTuple):
    """A committed change whose writer has not told Redis yet, and the life its transaction read."""

    seq: int
    epoch: int
    incarnation: int


class Order(NamedTuple):
    """A decision of a relay to begin a new epoch, on its way.

    Attributes:
        epoch: that PostgreSQL chose; 0 before it was asked.
        seq: that PostgreSQL had then.
        incarnation: that PostgreSQL had then.
        known: the epoch the relay knew, which the new one must exceed.
        life: the life of Redis's content that it saw (see `Server.life`).
    """

    epoch: int
    seq: int
    incarnation: int
    known: int
    life: tuple[int, ...]


class World(NamedTuple):
    """Everything at one moment.

    Attributes:
        seq: the sequence of PostgreSQL.
        epoch: the one PostgreSQL has chosen.
        epoch_age: ticks since then.
        incarnation: of PostgreSQL (R12).
        servers: the master, and perhaps the isolated one before it.
        replica: what the master's replica holds, while it lacks the last write.
        sidecars: processes.
        news: the changes ever published, with their incarnation. Each may be heard at any time,
            any number of times, or never: that is what a network does.
        writes: on their way to Redis.
        orders: of relays.
        seen: for each change the epoch in which Redis was seen to have it, and for how long.
        published: for each change the ticks since it was first published.
        applied: the highest version acknowledged as `applied`.
        left: what may still happen.
        wrong: what a request was answered, if it must not have been.
    """

    seq: int
    epoch: int
    epoch_age: int
    incarnation: int
    servers: tuple[Server, ...]
    replica: Server | None
    sidecars: tuple[Sidecar, ...]
    news: frozenset[tuple[int, int]]
    writes: tuple[Write, ...]
    orders: tuple[Order, ...]
    seen: tuple[tuple[int, int], ...]
    published: tuple[int, ...]
    applied: int
    left: Budget
    wrong: str = ""

    def with_sidecar(self, at: int, me: Sidecar) -> "World":
        """The same world but for one sidecar."""
        return self._replace(sidecars=(*self.sidecars[:at], me, *self.sidecars[at + 1 :]))

    def with_server(self, where: int, server: Server) -> "World":
        """The same world but for one Redis."""
        return self._replace(servers=(*self.servers[:where], server, *self.servers[where + 1 :]))

    def writable(self) -> Iterator[int]:
        """Which servers accept writes. Reads are answered by all of them."""
        return (at for at, each in enumerate(self.servers) if each.writable)

    def later(self) -> "World":
        """After one more tick. Who does nothing meanwhile may have been suspended."""
        return self._replace(
            epoch_age=min(self.epoch_age + 1, OLD),
            servers=tuple(each.aged() for each in self.servers),
            replica=None if self.replica is None else self.replica.aged(),
            sidecars=tuple(process.aged(each) for each in self.sidecars),
            seen=tuple((epoch, min(age + (epoch > 0), LEASE_TICKS)) for epoch, age in self.seen),
            published=tuple(age if age == NOTHING else min(age + 1, OLD) for age in self.published),
        )


Step = tuple[str, World]


def at_rest(scenario: Scenario) -> World:
    """All is well, and has been for long; nobody has started yet."""
    changes = len(scenario.concerns)
    return World(
        seq=0,
        epoch=1,
        epoch_age=OLD,
        incarnation=FIRST_LIFE,
        servers=(Server(1, 1, 1, 0, 0 if scenario.stored else NOTHING),),
        replica=None,
        sidecars=tuple(process.started(at) for at in range(scenario.sidecars)),
        news=frozenset(),
        writes=(),
        orders=(),
        seen=((0, 0),) * changes,
        published=(NOTHING,) * changes,
        applied=0,
        left=scenario.budget,
    )


def version(world: World, case: Case) -> int:
    """Of the subject in PostgreSQL now: the sequence that changed it last."""
    concerns = case.scenario.concerns
    return max((seq for seq in range(1, world.seq + 1) if concerns[seq - 1]), default=0)


def owed(world: World, case: Case) -> int:
    """The lowest version with which a request that comes now may be answered."""
    found = world.applied
    if case.scenario.timely:
        failed_over = world.left.failovers < case.scenario.budget.failovers
        longest = LEASE_TICKS + (D if failed_over else 0)
        for seq, age in enumerate(world.published, 1):
            if age >= longest and case.scenario.concerns[seq - 1]:
                found = max(found, seq)
    return found


def due(world: World, version_owed: int) -> str:
    """Which promise it is."""
    if world.applied >= version_owed:
        return f"revocation {version_owed} is applied (promise 13)"
    return f"revocation {version_owed} was published longer ago than a lease lasts (promise 14)"


def server_name(where: int) -> str:
    """For people."""
    return ("Redis", "the isolated old master")[where]

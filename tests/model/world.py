"""One shard, one subject: PostgreSQL, Redis, the network between them and the sidecars."""

from collections.abc import Iterator
from functools import cache
from typing import Final, NamedTuple

from sidecar.cache.acknowledgement import Confirmation, standing
from sidecar.cache.following import Beat
from tests.model import server as redis
from tests.model import sidecar as process
from tests.model.rules import BOUNDS, LEASE_TICKS, OLD, D, Rules
from tests.model.server import NOTHING, Server
from tests.model.sidecar import LANDING, POSTGRES, Heartbeat, Sidecar

Step = tuple[str, "World"]
_NAMES: Final = "ABC"


class Budget(NamedTuple):
    """How often each thing may still happen."""

    commits: int = 1
    flushes: int = 0
    failovers: int = 0
    restarts: int = 0
    replacements: int = 0


class Scenario(NamedTuple):
    """What a world may go through.

    Attributes:
        sidecars: how many there are at first.
        budget: how often each fault may happen.
        concerns: whether the n-th change is a revocation of the subject; another one is not, but
            has a sequence all the same.
        warm: whether the sidecars begin with the subject in memory, under a lease.
        stored: whether Redis begins with the subject.
        forgetful: whether a replay may find nothing, neither in the log nor in the outbox.
        hasty: whether any relay may act on what it saw long ago.
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
    hasty: bool = False
    own: bool = False
    timely: bool = False
    prelude: tuple[str, ...] = ()


class Order(NamedTuple):
    """A decision of a relay to begin a new epoch, on its way.

    Attributes:
        epoch: that PostgreSQL chose; 0 before it was asked.
        seq: that PostgreSQL had then.
        known: the epoch the relay knew, which the new one must exceed.
        life: the life of Redis's content that it saw (see `Server.life`).
    """

    epoch: int
    seq: int
    known: int
    life: tuple[int, ...]


class World(NamedTuple):
    """Everything at one moment.

    Attributes:
        seq: the sequence of PostgreSQL.
        epoch: the one PostgreSQL has chosen.
        epoch_age: ticks since then.
        servers: the master, and perhaps the isolated one before it.
        replica: what the master's replica holds, while it lacks the last write.
        sidecars: processes.
        told: the highest sequence that was published; news may arrive late, twice or never.
        writes: committed changes whose writer has not told Redis yet: sequence and epoch it read.
        orders: of relays.
        seen: for each change the epoch in which Redis was seen to have it, and for how long.
        published: for each change the ticks since it was first published.
        applied: the highest version acknowledged as `applied`.
        failed_over: whether promise 14 has D more.
        left: what may still happen.
        wrong: what a request was answered, if it must not have been.
    """

    seq: int
    epoch: int
    epoch_age: int
    servers: tuple[Server, ...]
    replica: Server | None
    sidecars: tuple[Sidecar, ...]
    news: frozenset[int]
    writes: tuple[tuple[int, int], ...]
    orders: tuple[Order, ...]
    seen: tuple[tuple[int, int], ...]
    published: tuple[int, ...]
    applied: int
    left: Budget
    wrong: str = ""


class Protocol:
    """The whole protocol as a model of the explorer.

    Args:
        scenario: what may happen.
        rules: which rules are kept.
    """

    def __init__(self, scenario: Scenario, rules: Rules) -> None:
        self._scenario = scenario
        self._rules = rules
        self._concerns = scenario.concerns
        # The last revocation.
        self._last = max(at for at, concerned in enumerate(self._concerns, 1) if concerned)

    # --- the claims

    def fault(self, world: World) -> str:
        """Promises 13 and 14; a request that memory answers is any request."""
        if world.wrong:
            return world.wrong
        owed = self._owed(world)
        for at, each in enumerate(world.sidecars):
            if each.memory != NOTHING and each.memory < owed and each.leased:
                return (
                    f"sidecar {_NAMES[at]} authorizes from memory: it knows version "
                    f"{each.memory} of the subject, and revocation {owed} {self._due(world)}"
                )
        return ""

    def _owed(self, world: World) -> int:
        """The lowest version a request may be answered from now on."""
        owed = world.applied
        if self._scenario.timely:
            over = world.left.failovers < self._scenario.budget.failovers
            longest = LEASE_TICKS + (D if over else 0)
            for seq, age in enumerate(world.published, 1):
                if age >= longest and self._concerns[seq - 1]:
                    owed = max(owed, seq)
        return owed

    def _due(self, world: World) -> str:
        if world.applied == self._owed(world):
            return "is applied (promise 13)"
        return "was published longer ago than a lease may last (promise 14)"

    # --- the beginning

    def initial(self) -> World:
        """All is well, and has been for long."""
        scenario = self._scenario
        world = World(
            0,
            1,
            OLD,
            (Server(1, 1, 1, 0, 0 if scenario.stored else NOTHING, ()),),
            None,
            tuple(process.started(at) for at in range(scenario.sidecars)),
            frozenset(),
            (),
            (),
            tuple((0, 0) for _ in scenario.concerns),
            tuple(NOTHING for _ in scenario.concerns),
            0,
            scenario.budget,
        )
        if scenario.warm:
            for at in range(scenario.sidecars):
                world = self._warmed(world, at)
        for words in scenario.prelude:
            world = next(
                after for sentence, after in self.steps(world) if sentence.startswith(words)
            )
        return world

    def _warmed(self, world: World, at: int) -> World:
        """Starts and renews the lease, then loads the subject."""
        for _ in range(2):
            world = self._beats(world, at, 0)
            world = self._with(world, at, process.answered(world.sidecars[at], self._rules))
        return self._with(world, at, world.sidecars[at]._replace(memory=0))

    # --- what may happen

    def steps(self, world: World) -> Iterator[Step]:
        """All events, in a fixed order. An acknowledgement is made as soon as it may be."""
        if world.wrong:
            return
        for sentence, after in self._events(world):
            applied = self._acknowledged(after)
            if applied > after.applied:
                yield (
                    f"{sentence}; revocation {applied} is acknowledged as applied",
                    self._settled(after, applied),
                )
            else:
                yield sentence, self._settled(after, applied) if applied else after

    def _settled(self, world: World, applied: int) -> World:
        """Forgets what only mattered for acknowledgements that have been made."""
        if applied > world.applied:
            world = world._replace(
                applied=applied,
                seen=((0, 0),) * applied + world.seen[applied:],
                published=(NOTHING,) * applied + world.published[applied:],
            )
        if applied < self._last:
            return world
        servers = tuple(each._replace(members=(), begun=OLD) for each in world.servers)
        return world._replace(servers=servers, epoch_age=OLD)

    def _events(self, world: World) -> Iterator[Step]:
        for at, each in enumerate(world.sidecars):
            if each.read is not None and each.read.stage != LANDING:
                # Who waited longest for it could only be told something newer.
                yield from self._flies(world, at)
                return
        yield from self._commits(world)
        yield from self._publications(world)
        for at in range(len(world.sidecars)):
            yield from self._follows(world, at)
            yield from self._reads(world, at)
        yield from self._relays(world)
        yield from self._faults(world)
        yield "half a lease passes", self._later(world)

    def _later(self, world: World) -> World:
        old = world.servers[1:]
        return world._replace(
            epoch_age=min(world.epoch_age + 1, OLD),
            servers=(world.servers[0].aged(), *(each.aged() for each in old)),
            replica=None if world.replica is None else world.replica.aged(),
            sidecars=tuple(process.aged(each) for each in world.sidecars),
            seen=tuple((epoch, min(age + (epoch > 0), LEASE_TICKS)) for epoch, age in world.seen),
            published=tuple(
                age if age == NOTHING else min(age + 1, OLD) for age in world.published
            ),
        )

    # --- the write path

    def _commits(self, world: World) -> Iterator[Step]:
        if not world.left.commits:
            return
        seq = world.seq + 1
        what = f"revocation {seq}" if self._concerns[seq - 1] else f"change {seq} of another"
        after = world._replace(
            seq=seq,
            writes=(*world.writes, (seq, world.epoch)),
            left=world.left._replace(commits=world.left.commits - 1),
        )
        sentence = f"{what} is committed; its transaction read epoch {world.epoch}"
        if self._scenario.own:
            yield f"{sentence}; A wrote it and applies it at once", self._hears(after, 0, seq)
        else:
            yield sentence, after

    def _publications(self, world: World) -> Iterator[Step]:
        for write in world.writes:
            seq, epoch = write
            rest = tuple(each for each in world.writes if each != write)
            for where in self._writable(world):
                after = self._invalidated(world, where, seq, epoch)
                if after is not None:
                    yield (
                        f"the writer tells {_server(where)} change {seq}",
                        after._replace(writes=rest),
                    )

    def _invalidated(self, world: World, where: int, seq: int, epoch: int) -> World | None:
        """Sends change `seq`, and before it what is missing (R3)."""
        before = world.servers[where]
        seqs = tuple(range(before.head + 1, seq + 1)) if self._rules.r3 else (seq,)
        if not seqs or (seq <= before.head and self._rules.r3):
            return None
        after = redis.invalidate(before, seqs, epoch, self._concerns, self._rules)
        if after is None:
            return None
        return self._saw(
            self._served(world, where, after)._replace(
                replica=before if where == 0 and world.left.failovers else world.replica,
                news=world.news.union(seqs),
            ),
            after,
        )

    def _saw(self, world: World, server: Server) -> World:
        """Whoever waits for an acknowledgement sees the head of `server` (R2)."""
        seen, published = list(world.seen), list(world.published)
        for at in range(world.applied, min(server.head, len(seen))):
            if seen[at][0] != server.epoch:
                seen[at] = (server.epoch, 0)
            if self._scenario.timely:
                published[at] = max(published[at], 0)
        return world._replace(seen=tuple(seen), published=tuple(published))

    def _acknowledged(self, world: World) -> int:
        """R2: the highest revocation that anybody may call applied now, asking any Redis."""
        applied = world.applied
        for seq in range(world.seq, applied, -1):
            if self._concerns[seq - 1]:
                for server in world.servers:
                    if (server.writable or not self._rules.r2_write) and _applied(
                        seq, server, world.seen[seq - 1], world.epoch, world.epoch_age, self._rules
                    ):
                        return seq
        return applied

    # --- a sidecar

    def _follows(self, world: World, at: int) -> Iterator[Step]:
        """Heartbeats, news and replays."""
        me, name, rules = world.sidecars[at], _NAMES[at], self._rules
        for where in self._writable(world):
            after = self._beats(world, at, where)
            yield (
                f"{_server(where)} serves a heartbeat of {name}: {_beat(after.sidecars[at].beat)}",
                after,
            )
        if me.beat is not None:
            after = self._with(world, at, process.answered(me, rules))
            yield f"the answer to its heartbeat reaches {name}", after
        for seq in sorted(world.news):
            yield f"{name} hears the message of change {seq}", self._hears(world, at, seq)
        missing = process.missing(me)
        if missing is not None and missing[1] <= world.seq:
            after = world
            for seq in range(missing[0], missing[1] + 1):
                after = self._hears(after, at, seq)
            yield f"{name} replays changes {missing[0]} to {missing[1]}", after
            if self._scenario.forgetful:
                yield (
                    f"{name} finds changes {missing[0]} to {missing[1]} nowhere, and forgets all",
                    self._with(world, at, process.forget_all(me, rules)),
                )

    def _beats(self, world: World, at: int, where: int) -> World:
        """Sent and served at one moment, answered later or never.

        Served later, it would give a shorter lease and confirm less than its sender has applied.
        """
        me = world.sidecars[at]
        mark = NOTHING if me.watermark is None else me.watermark
        server, answer = redis.serve_heartbeat(world.servers[where], me.member, mark, self._rules)
        beating = me._replace(beat=Heartbeat(0, answer))
        return self._served(self._with(world, at, beating), where, server)

    def _hears(self, world: World, at: int, seq: int) -> World:
        concerned = self._concerns[seq - 1]
        return self._with(
            world,
            at,
            process.hear(world.sidecars[at], seq, self._rules, concerned=concerned),
        )

    def _reads(self, world: World, at: int) -> Iterator[Step]:
        """Requests, and the flights they start."""
        me, name = world.sidecars[at], _NAMES[at]
        if me.memory == NOTHING or not me.leased:
            waiting = process.request(me, self._owed(world), self._rules)
            if me.read is None and waiting.read is not None:
                for read, sentence in self._asked(world, me, waiting.read):
                    yield (
                        f"a request at {name} {sentence}",
                        self._with(world, at, waiting._replace(read=read)),
                    )
            else:
                yield f"a request at {name} waits for a read", self._with(world, at, waiting)
        if me.read is not None:
            yield from self._flies(world, at)
        if me.doomed is not None:
            after = self._with(world, at, me._replace(doomed=None))
            yield (
                f"its doomed read brings {name} version {me.doomed.value}",
                self._answered(after, at, me.doomed),
            )
        if me.fill is not None:
            rest = self._with(world, at, me._replace(fill=None))
            for where in self._writable(world):
                filled = redis.fill(world.servers[where], *me.fill, self._rules)
                if filled is not None:
                    yield (
                        f"{name} fills {_server(where)} with version {me.fill.value}",
                        self._served(rest, where, filled),
                    )

    def _flies(self, world: World, at: int) -> Iterator[Step]:
        me, name = world.sidecars[at], _NAMES[at]
        read = me.read
        assert read is not None
        if read.stage == LANDING:
            after = self._with(world, at, process.land(me, self._rules))
            yield f"its read brings {name} version {read.value}", self._answered(after, at, read)
            return
        for answered, sentence in self._asked(world, me, read):
            yield (
                f"the read of {name} {sentence}",
                self._with(world, at, me._replace(read=answered)),
            )

    def _asked(
        self, world: World, me: Sidecar, read: process.Read
    ) -> Iterator[tuple[process.Read, str]]:
        """The stores are asked, one after the other if need be, and answer what they hold now.

        In one moment: PostgreSQL asked later than Redis could only answer something newer.
        """
        version = self._version(world.seq)
        if read.stage == POSTGRES:
            yield (
                read._replace(stage=LANDING, value=version),
                f"finds version {version} in PostgreSQL",
            )
            return
        for where, server in enumerate(world.servers):
            if not server.vouches(self._rules):
                head, why = None, f"finds {_server(where)} suspect"
            elif server.value == NOTHING or (self._rules.r6_news and server.head < me.latest_news):
                head = (server.head, server.epoch)
                why = f"misses in {_server(where)} at head {server.head} of epoch {server.epoch}"
            else:
                yield (
                    read._replace(stage=LANDING, value=server.value),
                    f"finds version {server.value} in {_server(where)}",
                )
                continue
            yield (
                read._replace(stage=LANDING, value=version, head=head),
                f"{why} and finds version {version} in PostgreSQL",
            )

    def _answered(self, world: World, at: int, read: process.Read) -> World:
        """Those who waited for `read` are answered."""
        if read.value >= read.owed:
            return world
        return world._replace(
            wrong=f"sidecar {_NAMES[at]} answers with version {read.value} a request that came "
            f"after revocation {read.owed} {self._due(world)}"
        )

    # --- the relay

    def _relays(self, world: World) -> Iterator[Step]:
        """Sends what is missing, and begins a new epoch where Redis is suspect (R1)."""
        for where in self._writable(world):
            server = world.servers[where]
            if world.seq > server.head:
                after = self._invalidated(world, where, world.seq, world.epoch)
                if after is not None and self._rules.r3:
                    yield f"the relay tells {_server(where)} all up to change {world.seq}", after
            if self._needs_epoch(world, server):
                order = Order(0, 0, max(world.epoch, server.epoch), server.life)
                if order not in world.orders and len(world.orders) < 1 + self._scenario.hasty:
                    why = f"a relay sees that {_server(where)} needs an epoch after {order.known}"
                    after = world._replace(orders=(*world.orders, order))
                    if self._scenario.hasty:
                        yield why, after
                    else:
                        gives, after = self._renewed(world, order, world.orders)
                        yield f"{why}; {gives}", after
        for order in world.orders:
            rest = tuple(each for each in world.orders if each is not order)
            if not order.epoch:
                yield self._renewed(world, order, rest)
                continue
            for where in self._writable(world):
                yield from self._establishes(world, order, rest, where)

    def _needs_epoch(self, world: World, server: Server) -> bool:
        if not self._rules.r1_scripts:
            return False
        return not server.vouches(self._rules) or server.epoch != world.epoch

    def _renewed(self, world: World, order: Order, rest: tuple[Order, ...]) -> Step:
        """Compare-and-set in PostgreSQL: a new epoch, unless somebody else has begun one."""
        if world.epoch <= order.known:
            world = world._replace(epoch=order.known + 1, epoch_age=0)
        sent = order._replace(epoch=world.epoch, seq=world.seq)
        return (
            f"PostgreSQL gives the relay epoch {world.epoch} with sequence {world.seq}",
            world._replace(orders=(*rest, sent)),
        )

    def _establishes(
        self, world: World, order: Order, rest: tuple[Order, ...], where: int
    ) -> Iterator[Step]:
        server = world.servers[where]
        after = redis.establish(server, order.epoch, order.seq)
        if self._rules.r1_fresh and server.life != order.life:
            after = None
        if after is None:
            yield (
                f"{_server(where)} refuses to begin epoch {order.epoch}",
                world._replace(orders=rest),
            )
            return
        world = self._served(world._replace(orders=rest), where, after)
        yield (
            f"{_server(where)} begins epoch {order.epoch} with head {order.seq}",
            self._saw(world, after),
        )

    # --- faults

    def _faults(self, world: World) -> Iterator[Step]:
        left = world.left
        if left.flushes:
            yield (
                "Redis forgets everything",
                self._served(world, 0, world.servers[0].flushed())._replace(
                    replica=None, left=left._replace(flushes=left.flushes - 1)
                ),
            )
        if left.failovers:
            yield from self._failovers(world)
        for at, me in enumerate(world.sidecars):
            if left.restarts:
                again = process.started(me.member + 10 if self._rules.r7 else me.member)
                yield (
                    f"sidecar {_NAMES[at]} restarts",
                    self._with(world, at, again)._replace(
                        left=left._replace(restarts=left.restarts - 1)
                    ),
                )
        if left.replacements:
            last = world.sidecars[-1].member
            other = process.started(last + 10 if self._rules.r7 else last)
            yield (
                f"sidecar {_NAMES[len(world.sidecars)]} replaces one that only seems to be dead",
                world._replace(
                    sidecars=(*world.sidecars, other),
                    left=left._replace(replacements=left.replacements - 1),
                ),
            )

    def _failovers(self, world: World) -> Iterator[Step]:
        old = world.servers[0]._replace(writable=D)
        left = world.left._replace(failovers=world.left.failovers - 1)
        contents = [("has all", world.servers[0])]
        if world.replica is not None:
            contents.append(("lacks the last write", world.replica))
        for what, content in contents:
            for isolated in (False, True):
                new = content._replace(run=content.run + 1)
                servers = (new, old) if isolated else (new,)
                fate = "isolated and goes on answering" if isolated else "gone"
                yield (
                    f"Redis fails over to a replica that {what}; the old master is {fate}",
                    world._replace(servers=servers, replica=None, left=left),
                )

    # --- small change

    def _version(self, seq: int) -> int:
        """Of the subject in PostgreSQL when its sequence is `seq`."""
        return max((at for at in range(1, seq + 1) if self._concerns[at - 1]), default=0)

    def _writable(self, world: World) -> Iterator[int]:
        return (at for at, each in enumerate(world.servers) if each.writable)

    def _with(self, world: World, at: int, me: Sidecar) -> World:
        sidecars = world.sidecars
        return world._replace(sidecars=(*sidecars[:at], me, *sidecars[at + 1 :]))

    def _served(self, world: World, where: int, server: Server) -> World:
        servers = world.servers
        return world._replace(servers=(*servers[:where], server, *servers[where + 1 :]))


@cache
def _applied(
    seq: int, server: Server, seen: tuple[int, int], epoch: int, epoch_age: int, rules: Rules
) -> bool:
    """R2: what `standing` says, asked with what this Redis and PostgreSQL say."""
    suspect = not server.vouches(rules) or (rules.r1_scripts and server.epoch != epoch)
    published_for = seen[1] if seen[0] == server.epoch else -1
    if not rules.r2_waits:
        return not suspect and server.head >= seq
    members = server.members if rules.r2_members else ()
    if rules.r2_begun:
        epoch_age = min(epoch_age, server.begun)
    return standing(
        seq,
        None if suspect else Beat(server.head, server.epoch, "a"),
        [Confirmation(str(each.member), each.watermark, each.epoch, each.age) for each in members],
        published_for=published_for,
        epoch_age=epoch_age if rules.r2_epoch_age else OLD,
        bounds=BOUNDS,
    ).applied


def _server(where: int) -> str:
    return ("Redis", "the isolated old master")[where]


def _beat(beat: Heartbeat | None) -> str:
    if beat is None or beat.answer is None:
        return "suspect"
    return f"head {beat.answer.head} of epoch {beat.answer.epoch}"

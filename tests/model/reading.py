"""Requests that memory cannot answer, and the reads they start."""

from collections.abc import Iterator

from tests.model import machines
from tests.model import server as redis
from tests.model.server import NOTHING
from tests.model.sidecar import LANDING, POSTGRES, Read, Sidecar
from tests.model.world import NAMES, Case, Step, World, due, owed, server_name, version


def reads(world: World, case: Case, at: int) -> Iterator[Step]:
    """What may happen at sidecar `at`."""
    me, name = world.sidecars[at], NAMES[at]
    if me.memory == NOTHING or not me.leased:
        yield from _requests(world, case, at)
    if me.read is not None:
        after = world.with_sidecar(at, machines.land(me, case.rules))
        yield f"its read brings {name} version {me.read.value}", _answer(after, at, me.read)
    if me.doomed is not None:
        after = world.with_sidecar(at, me._replace(doomed=None))
        yield (
            f"its doomed read brings {name} version {me.doomed.value}",
            _answer(after, at, me.doomed),
        )
    yield from _fills(world, case, at)


def waiting(world: World) -> int | None:
    """Who has a read that has just started: the stores are asked at once.

    Asked later, they could only answer something newer.
    """
    for at, each in enumerate(world.sidecars):
        if each.read is not None and each.read.stage != LANDING:
            return at
    return None


def asks(world: World, case: Case, at: int) -> Iterator[Step]:
    """The read of sidecar `at` that has just started asks the stores."""
    me = world.sidecars[at]
    assert me.read is not None
    for read, sentence in _asked(world, case, me, me.read):
        yield (
            f"the next read of {NAMES[at]} {sentence}",
            world.with_sidecar(at, me._replace(read=read)),
        )


def _requests(world: World, case: Case, at: int) -> Iterator[Step]:
    me, name = world.sidecars[at], NAMES[at]
    after = machines.request(me, owed(world, case), case.rules)
    if me.read is not None or after.read is None:
        yield f"a request at {name} waits for a read", world.with_sidecar(at, after)
        return
    for read, sentence in _asked(world, case, after, after.read):
        yield f"a request at {name} {sentence}", world.with_sidecar(at, after._replace(read=read))


def _asked(world: World, case: Case, me: Sidecar, read: Read) -> Iterator[tuple[Read, str]]:
    """The stores answer what they hold at this moment; the answer arrives later."""
    primary = version(world, case)
    if read.stage == POSTGRES:
        yield (
            read._replace(stage=LANDING, value=primary),
            f"finds version {primary} in PostgreSQL",
        )
        return
    for where, server in enumerate(world.servers):
        name = server_name(where)
        if not server.vouches(case.rules):
            head, why = None, f"finds {name} suspect"
        elif server.value == NOTHING or (case.rules.r6_news and server.head < me.latest_news):
            head = (server.head, server.epoch)
            why = f"misses in {name} at head {server.head} of epoch {server.epoch}"
        else:
            yield (
                read._replace(stage=LANDING, value=server.value),
                f"finds version {server.value} in {name}",
            )
            continue
        yield (
            read._replace(stage=LANDING, value=primary, head=head),
            f"{why} and finds version {primary} in PostgreSQL",
        )


def _fills(world: World, case: Case, at: int) -> Iterator[Step]:
    me = world.sidecars[at]
    if me.fill is None:
        return
    rest = world.with_sidecar(at, me._replace(fill=None))
    for where in world.writable():
        filled = redis.fill(world.servers[where], *me.fill, case.rules)
        if filled is not None:
            yield (
                f"{NAMES[at]} fills {server_name(where)} with version {me.fill.value}",
                rest.with_server(where, filled),
            )


def _answer(world: World, at: int, read: Read) -> World:
    """Those who waited for `read` are answered."""
    if read.value >= read.owed:
        return world
    return world._replace(
        wrong=f"sidecar {NAMES[at]} answers version {read.value} to a request that came when "
        f"version {read.owed} was due: {due(world, read.owed)}"
    )

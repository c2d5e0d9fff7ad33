"""What breaks: Redis forgets or fails over, sidecars restart, PostgreSQL is restored."""

from collections.abc import Iterator

from tests.model import sidecar as process
from tests.model.rules import OLD, D
from tests.model.server import NOTHING
from tests.model.world import NAMES, Case, Step, World, server_name


def faults(world: World, case: Case) -> Iterator[Step]:
    """Whatever the budget still allows."""
    left = world.left
    if left.flushes:
        yield (
            "Redis forgets everything",
            world.with_server(0, world.servers[0].flushed())._replace(
                replica=None, left=left._replace(flushes=left.flushes - 1)
            ),
        )
    if left.failovers:
        yield from _failovers(world)
    if left.restarts:
        yield from _restarts(world)
    if left.leaves:
        yield from _leaves(world, case)
    if left.replacements:
        yield _replacement(world, case)
    if left.restores:
        yield _restore(world, case)


def _failovers(world: World) -> Iterator[Step]:
    """The new master is another process, and its content is another's (R1)."""
    left = world.left._replace(failovers=world.left.failovers - 1)
    old = world.servers[0]
    # D is reckoned from now to the last tick in which it accepts a write, both included.
    contents = [("has all", old)]
    if world.replica is not None:
        contents.append(("lacks the last write", world.replica))
    for what, content in contents:
        for fate in ("isolated and goes on answering", "gone"):
            new = content._replace(run=old.run + 1)
            isolated = (old._replace(writable=D + 1),) if fate != "gone" else ()
            yield (
                f"Redis fails over to a replica that {what}; the old master is {fate}",
                world._replace(servers=(new, *isolated), replica=None, left=left),
            )


def _restarts(world: World) -> Iterator[Step]:
    left = world.left._replace(restarts=world.left.restarts - 1)
    for at, me in enumerate(world.sidecars):
        after = world.with_sidecar(at, process.started(me.member + 10))
        yield f"sidecar {NAMES[at]} restarts", after._replace(left=left)


def _leaves(world: World, case: Case) -> Iterator[Step]:
    """Who signs off is not listed any more; its requests and reads may still be under way.

    The product beats no more then. Here it may, as another: whatever holds now holds without that.
    """
    left = world.left._replace(leaves=world.left.leaves - 1)
    for at, me in enumerate(world.sidecars):
        gone = process.resigned(me) if case.rules.r2_leave else me
        after = world.with_sidecar(at, gone._replace(member=me.member + 10))
        for where in world.writable():
            server = world.servers[where].without(me.member)
            told = after.with_server(where, server)._replace(left=left)
            yield f"sidecar {NAMES[at]} signs off from {server_name(where)}", told


def _replacement(world: World, case: Case) -> Step:
    """R7: somebody starts in the place, and perhaps under the name, of one that is only paused."""
    last = world.sidecars[-1].member
    other = process.started(last + 10 if case.rules.r7 else last)
    left = world.left._replace(replacements=world.left.replacements - 1)
    name = NAMES[len(world.sidecars)]
    return (
        f"sidecar {name} replaces one that only seems to be dead",
        world._replace(sidecars=(*world.sidecars, other), left=left),
    )


def _restore(world: World, case: Case) -> Step:
    """R12: PostgreSQL begins another life where it was at first; what it lost is owed to nobody."""
    changes = len(case.scenario.concerns)
    return (
        "PostgreSQL is restored to what it was at first",
        world._replace(
            seq=0,
            epoch=1,
            epoch_age=OLD,
            incarnation=world.incarnation + 1,
            sidecars=tuple(process.absolved(each) for each in world.sidecars),
            writes=(),
            seen=((0, 0),) * changes,
            published=(NOTHING,) * changes,
            applied=0,
            left=world.left._replace(restores=world.left.restores - 1),
        ),
    )

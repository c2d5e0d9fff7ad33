"""A sidecar follows the news: heartbeats, messages, replays."""

from collections.abc import Iterator

from tests.model import machines
from tests.model import server as redis
from tests.model.server import NOTHING
from tests.model.sidecar import Heartbeat
from tests.model.world import NAMES, Case, Step, World, server_name


def follows(world: World, case: Case, at: int) -> Iterator[Step]:
    """What may happen to sidecar `at`."""
    yield from _heartbeats(world, case, at)
    for news in sorted(world.news):
        of = "" if news[1] == world.incarnation else " of PostgreSQL's life before"
        yield (
            f"{NAMES[at]} hears the message of change {news[0]}{of}",
            hear(world, case, at, news),
        )
    yield from _replays(world, case, at)


def hear(world: World, case: Case, at: int, news: tuple[int, int]) -> World:
    """A change is applied."""
    seq, incarnation = news
    concerned = case.scenario.concerns[seq - 1]
    me = machines.hear(world.sidecars[at], seq, incarnation, case.rules, concerned=concerned)
    return world.with_sidecar(at, me)


def beat(world: World, case: Case, at: int, where: int) -> World:
    """A heartbeat is sent and served at one moment, to be answered later or never.

    Served later, it would give a shorter lease and confirm less than its sender has applied.
    """
    me = world.sidecars[at]
    mark = NOTHING if me.watermark is None else me.watermark
    server, answer = redis.serve_heartbeat(world.servers[where], me.member, mark, case.rules)
    beating = me._replace(beat=Heartbeat(0, answer))
    return world.with_sidecar(at, beating).with_server(where, server)


def warm(world: World, case: Case, at: int) -> World:
    """Has sidecar `at` start, renew its lease and load the subject."""
    for _ in range(2):
        world = beat(world, case, at, 0)
        world = world.with_sidecar(at, machines.answered(world.sidecars[at], case.rules))
    return world.with_sidecar(at, world.sidecars[at]._replace(memory=0))


def _heartbeats(world: World, case: Case, at: int) -> Iterator[Step]:
    name = NAMES[at]
    for where in world.writable():
        after = beat(world, case, at, where)
        sent = after.sidecars[at].beat
        answer = None if sent is None else sent.answer
        says = "suspect" if answer is None else f"head {answer.head} of epoch {answer.epoch}"
        yield f"{server_name(where)} serves a heartbeat of {name}: {says}", after
    me = world.sidecars[at]
    if me.beat is not None:
        after = world.with_sidecar(at, machines.answered(me, case.rules))
        yield f"the answer to its heartbeat reaches {name}", after


def _replays(world: World, case: Case, at: int) -> Iterator[Step]:
    """From the log or the outbox: what a sequence stands for never changes within a life."""
    if case.scenario.slow:
        yield from _slow_replays(world, case, at)
        return
    me, name = world.sidecars[at], NAMES[at]
    missing = machines.missing(me)
    if missing is None or missing[1] > world.seq or me.incarnation != str(world.incarnation):
        return
    after = world
    for seq in range(missing[0], missing[1] + 1):
        after = hear(after, case, at, (seq, world.incarnation))
    yield f"{name} replays changes {missing[0]} to {missing[1]}", after
    if case.scenario.forgetful:
        yield (
            f"{name} finds changes {missing[0]} to {missing[1]} nowhere, and forgets all",
            world.with_sidecar(at, machines.forget_all(me, case.rules)),
        )


def _slow_replays(world: World, case: Case, at: int) -> Iterator[Step]:
    """Stores that take long: anything may happen between the question and the answer."""
    me, name = world.sidecars[at], NAMES[at]
    if me.replay is None:
        missing = machines.missing(me)
        if missing is not None and missing[1] <= world.seq:
            asks = world.with_sidecar(at, machines.begin_replay(me))
            yield f"{name} asks for changes {missing[0]} to {missing[1]}", asks
        return
    first, last, _ = me.replay
    for found, words in ((True, "is told"), (False, "is told nothing of")):
        after = machines.replayed(me, case.scenario.concerns, case.rules, found=found)
        yield f"{name} {words} changes {first} to {last}", world.with_sidecar(at, after)

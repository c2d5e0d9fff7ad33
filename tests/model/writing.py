"""The write path: commit, tell Redis, acknowledge."""

from collections.abc import Iterator
from functools import cache

from sidecar.cache.acknowledgement import Confirmation, standing
from tests.model import server as redis
from tests.model.following import hear
from tests.model.rules import BOUNDS, OLD, Rules
from tests.model.server import NOTHING, Server
from tests.model.world import Case, Step, World, Write, server_name


def commits(world: World, case: Case) -> Iterator[Step]:
    """A transaction ends; it read epoch and incarnation with its sequence."""
    if not world.left.commits or world.seq == len(case.scenario.concerns):
        return
    seq = world.seq + 1
    concerned = case.scenario.concerns[seq - 1]
    what = f"revocation {seq}" if concerned else f"change {seq} of another subject"
    epoch = world.epoch if case.rules.r1_carried else 1
    after = world._replace(
        seq=seq,
        writes=(*world.writes, Write(seq, epoch, world.incarnation)),
        left=world.left._replace(commits=world.left.commits - 1),
    )
    sentence = f"{what} is committed; its writer knows epoch {epoch}"
    if case.scenario.own:
        sentence += "; A is the writer and applies it at once"
        after = hear(after, case, 0, (seq, world.incarnation))
    yield sentence, after


def publications(world: World, case: Case) -> Iterator[Step]:
    """A writer tells some Redis."""
    for write in world.writes:
        for where in world.writable():
            after = tell(world, case, where, write)
            if after is not None:
                rest = tuple(each for each in world.writes if each != write)
                yield (
                    f"the writer tells {server_name(where)} change {write.seq}",
                    after._replace(writes=rest),
                )


def tell(world: World, case: Case, where: int, write: Write) -> World | None:
    """Sends a change, and before it what is missing (R3); None where it is refused."""
    before = world.servers[where]
    first = min(before.head + 1, write.seq) if case.rules.r3 else write.seq
    seqs = tuple(range(first, write.seq + 1))
    life = (write.epoch, write.incarnation)
    after = redis.invalidate(before, seqs, life, case.scenario.concerns, case.rules)
    if after is None:
        return None
    told = seqs if not case.rules.r3 else range(before.head + 1, write.seq + 1)
    lacks = before if where == 0 and world.left.failovers and after != before else world.replica
    world = world.with_server(where, after)._replace(
        replica=lacks, news=world.news.union((seq, write.incarnation) for seq in told)
    )
    return see(world, case, after)


def see(world: World, case: Case, server: Server) -> World:
    """Whoever waits for an acknowledgement sees the head of `server` at once (R2)."""
    seen, published = list(world.seen), list(world.published)
    for at in range(world.applied, min(server.head, len(seen))):
        if seen[at][0] != server.epoch:
            seen[at] = (server.epoch, 0)
        if case.scenario.timely:
            published[at] = max(published[at], 0)
    return world._replace(seen=tuple(seen), published=tuple(published))


def acknowledged(world: World, case: Case) -> World:
    """R2: acknowledges whatever anybody may call applied now, asking any Redis.

    At once, because an acknowledgement forbids nothing to anybody: given later, it could only
    find fewer faults.
    """
    for seq in range(world.seq, world.applied, -1):
        if case.scenario.concerns[seq - 1] and any(
            _applied(
                seq,
                server,
                world.seen[seq - 1],
                (world.epoch, world.incarnation),
                world.epoch_age,
                case.rules,
            )
            for server in world.servers
        ):
            return world._replace(
                applied=seq,
                seen=((0, 0),) * seq + world.seen[seq:],
                published=(NOTHING,) * seq + world.published[seq:],
            )
    return world


def settled(world: World, case: Case) -> World:
    """Forgets what only matters for acknowledgements, when all have been made."""
    if world.left.restores or any(case.scenario.concerns[world.applied :]):
        return world
    servers = tuple(each._replace(members=(), begun=OLD) for each in world.servers)
    return world._replace(servers=servers, epoch_age=OLD)


@cache
def _applied(
    seq: int,
    server: Server,
    seen: tuple[int, int],
    life: tuple[int, int],
    epoch_age: int,
    rules: Rules,
) -> bool:
    """What `standing` says, asked with what this Redis and PostgreSQL say.

    PostgreSQL's epoch and incarnation have to be those of Redis, else its age says nothing.
    """
    if rules.r2_write and not server.writable:
        return False
    suspect = not server.vouches(rules) or (rules.r1_scripts and server.epoch != life[0])
    if rules.r12_scripts and server.incarnation != life[1]:
        suspect = True
    if not rules.r2_waits:
        return not suspect and server.head >= seq
    if not rules.r2_epoch_age:
        epoch_age = OLD
    elif rules.r2_begun:
        epoch_age = min(epoch_age, server.begun)
    members = server.members if rules.r2_members else ()
    return standing(
        seq,
        None if suspect else server.beat,
        [Confirmation(str(each.member), each.watermark, each.epoch, each.age) for each in members],
        published_for=seen[1] if seen[0] == server.epoch else -1,
        epoch_age=epoch_age,
        bounds=BOUNDS,
    ).applied

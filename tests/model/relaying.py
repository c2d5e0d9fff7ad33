"""The relay: sends what is missing, and gives Redis's content a new life where it is suspect."""

from collections.abc import Iterator

from tests.model import server as redis
from tests.model.server import Server
from tests.model.world import Case, Order, Step, World, Write, server_name
from tests.model.writing import see, tell


def relays(world: World, case: Case) -> Iterator[Step]:
    """What any relay may do, wherever its connection leads."""
    for where in world.writable():
        yield from _catches_up(world, case, where)
        yield from _decides(world, case, where)
    for order in world.orders:
        rest = tuple(each for each in world.orders if each is not order)
        if not order.epoch:
            yield _chosen(world, order, rest)
            continue
        for where in world.writable():
            yield _establishes(world, case, order, rest, where)


def _catches_up(world: World, case: Case, where: int) -> Iterator[Step]:
    if world.seq <= world.servers[where].head or not case.rules.r3:
        return
    after = tell(world, case, where, Write(world.seq, world.epoch, world.incarnation))
    if after is not None:
        yield f"the relay tells {server_name(where)} all up to change {world.seq}", after


def _decides(world: World, case: Case, where: int) -> Iterator[Step]:
    server = world.servers[where]
    if not needs_epoch(world, case, server):
        return
    order = Order(0, 0, 0, max(world.epoch, server.epoch), server.life)
    if order in world.orders or len(world.orders) > case.scenario.hasty:
        return
    why = f"a relay sees that {server_name(where)} needs an epoch after {order.known}"
    if case.scenario.hasty:
        yield why, world._replace(orders=(*world.orders, order))
    else:
        gives, after = _chosen(world, order, world.orders)
        yield f"{why}; {gives}", after


def needs_epoch(world: World, case: Case, server: Server) -> bool:
    """Whether what `server` holds belongs to no life that PostgreSQL knows, or a past one."""
    if not case.rules.r1_scripts:
        return False
    if case.rules.r12_scripts and server.incarnation != world.incarnation:
        return True
    return not server.vouches(case.rules) or server.epoch != world.epoch


def _chosen(world: World, order: Order, rest: tuple[Order, ...]) -> Step:
    """Compare-and-set in PostgreSQL: a new epoch, unless somebody else has chosen one."""
    if world.epoch <= order.known:
        world = world._replace(epoch=order.known + 1, epoch_age=0)
    sent = order._replace(epoch=world.epoch, seq=world.seq, incarnation=world.incarnation)
    return (
        f"PostgreSQL gives the relay epoch {world.epoch} with sequence {world.seq}",
        world._replace(orders=(*rest, sent)),
    )


def _establishes(
    world: World, case: Case, order: Order, rest: tuple[Order, ...], where: int
) -> Step:
    world = world._replace(orders=rest)
    server, name = world.servers[where], server_name(where)
    after = redis.establish(server, order.epoch, order.seq, order.incarnation)
    if after is None or (case.rules.r1_fresh and server.life != order.life):
        return f"{name} refuses to begin epoch {order.epoch}", world
    return (
        f"{name} begins epoch {order.epoch} with head {order.seq}",
        see(world.with_server(where, after), case, after),
    )

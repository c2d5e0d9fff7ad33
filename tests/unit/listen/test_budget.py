"""What all clients together may keep in memory."""

from dataclasses import dataclass, field

from sidecar.listen.budget import LITTLE_BYTES, Budget
from sidecar.model.holding import Holding


@dataclass(eq=False)
class Client:
    """Keeps what it is told to."""

    kept: int = 0
    cut: list[str] = field(default_factory=list)
    name: str = ""
    holding: Holding = Holding.ANSWER

    def kept_bytes(self) -> int:
        return self.kept

    def shed(self) -> Holding:
        self.kept = 0
        self.cut.append(self.name)
        return self.holding


def test_counts_what_each_keeps_now() -> None:
    budget, client = Budget(1_000_000), Client(10_000)
    assert budget.tell(client) is True
    assert budget.used_bytes == 10_000
    client.kept = 30_000
    assert budget.tell(client) is True
    assert budget.used_bytes == 30_000
    client.kept = LITTLE_BYTES
    assert budget.tell(client) is False
    assert budget.used_bytes == 0


def test_forgets_who_is_gone() -> None:
    budget, client = Budget(1_000_000), Client(10_000)
    budget.tell(client)
    budget.forget(client)
    budget.forget(client)
    assert budget.used_bytes == 0


def test_cuts_those_who_hold_most_until_a_tenth_is_free() -> None:
    budget = Budget(100_000)
    cut: list[str] = []
    small, medium, large = (
        Client(size, cut, name) for size, name in ((20_000, "s"), (30_000, "m"), (40_000, "l"))
    )
    for client in (small, medium, large):
        budget.tell(client)
    assert cut == []
    budget.tell(Client(35_000, cut, "last"))
    assert cut == ["l"]
    assert (budget.used_bytes, budget.shed.total()) == (85_000, 1)


def test_looks_before_anybody_is_cut() -> None:
    """Who has sent on what it told of says nothing."""
    budget, idle = Budget(100_000), Client(90_000)
    budget.tell(idle)
    idle.kept = 0
    busy = Client(50_000)
    budget.tell(busy)
    assert (idle.cut, busy.cut, budget.used_bytes) == ([], [], 50_000)


def test_may_cut_who_tells() -> None:
    budget, client = Budget(100_000), Client(200_000)
    assert budget.tell(client) is False
    assert (client.cut, budget.used_bytes) == ([""], 0)


def test_counts_who_was_cut_by_what_it_kept() -> None:
    budget = Budget(100_000)
    assert budget.shed == dict.fromkeys(Holding, 0), "each is there before it happens"
    for holding in (*Holding, Holding.REQUEST):
        budget.tell(Client(200_000, holding=holding))
    assert budget.shed == {"answer": 1, "request": 2, "websocket": 1}
    assert (budget.used_bytes, budget.most_bytes) == (0, 100_000)

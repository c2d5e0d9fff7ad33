"""A flood of invented tokens costs neither the stores a read nor honest clients their place.

Ten invented credentials come with each honest request. What is compared is the share of honest
requests that memory answers alone, before the flood and during it.
"""

import os
import random
import string
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import pytest

from sidecar.authenticate.keys import KeySet
from sidecar.authenticate.token import verify
from sidecar.authorize.permit import Permit
from sidecar.cache.memory import Memory
from sidecar.decide import decide
from sidecar.model.decision import Denial, Missing
from sidecar.model.head import RequestHead
from sidecar.model.need import Found, Need, TokenNeed
from sidecar.model.reason import Reason
from sidecar.settings.schema import Cache, Issuer, Jwks
from tests.cases.world import INSTANT, ISSUER, World, build, head_of, present, session_token
from tests.unit.authenticate.signing import encoded

FLOOD = int(os.environ.get("SIDECAR_FLOOD_TOKENS", "100000"))
FLOOD_FOR_EACH_HONEST = 10
NOW = 1_000.0
# More sessions and more tokens in use than there is room for: every place that is lost shows.
HONEST = 600
SIZES = Cache(sessions=400, tokens=400, negative=300)
SHARE_WITHIN = 0.01
LETTERS = string.ascii_letters + string.digits + "-_"
ISSUERS = {ISSUER: Issuer(issuer=ISSUER, audiences=("app",), jwks=Jwks(file="x"), tenant="acme")}
NO_KEYS = {ISSUER: KeySet(ISSUER, {}, NOW)}
DOCUMENT: dict[str, Any] = {
    "routes": [{"path": "/read", "permission": "a:read"}],
    "tenants": {
        "acme": {
            "roles": {"reader": {"rules": ["allow a:read"]}},
            "users": {"ann": {"roles": ["reader"]}},
        }
    },
}


def letters(chance: random.Random, count: int) -> str:
    return "".join(chance.choices(LETTERS, k=count))


def claimed(chance: random.Random, issuer: str) -> str:
    header = encoded({"alg": "RS256", "kid": letters(chance, 8)})
    return f"{header}.{encoded({'iss': issuer, 'sub': 'ann'})}.{encoded(chance.randbytes(256))}"


# What is invented, and why it is refused. Session tokens are refused without asking anybody.
Invent = Callable[[random.Random], str]
SESSIONS: dict[str, tuple[Invent, Reason]] = {
    "random": (
        lambda chance: f"scs1_{letters(chance, 44)}_{letters(chance, 16)}",
        Reason.UNKNOWN_SESSION,
    ),
    "of another length": (
        lambda chance: f"scs1_{letters(chance, chance.randrange(200))}",
        Reason.UNKNOWN_SESSION,
    ),
    "a real one, signed anew": (
        lambda chance: session_token("ann")[:-16] + letters(chance, 16),
        Reason.UNKNOWN_SESSION,
    ),
}
TOKENS: dict[str, tuple[Invent, Reason]] = {
    "three random parts": (
        lambda chance: f"{letters(chance, 40)}.{letters(chance, 80)}.{letters(chance, 86)}",
        Reason.MALFORMED_CREDENTIAL,
    ),
    "an issuer nobody knows": (
        lambda chance: claimed(chance, letters(chance, 12)),
        Reason.UNKNOWN_ISSUER,
    ),
    "a key nobody knows": (
        lambda chance: claimed(chance, ISSUER),
        Reason.UNKNOWN_KEY,
    ),
}


@dataclass
class Shell:
    """Answers requests as the pipeline does, and counts what it has to load for them."""

    world: World
    loads: Counter[type[Need]] = field(default_factory=Counter)

    def answer(self, head: RequestHead) -> Permit | Denial:
        loaded: dict[Need, Found | Denial] = {}
        while isinstance(
            outcome := decide(head, NOW, INSTANT, self.world.snapshot, loaded), Missing
        ):
            for need in outcome.needs:
                self.loads[type(need)] += 1
                loaded[need] = self._load(need)
                self.world.snapshot.memory.put(need, loaded[need], INSTANT)
        return outcome

    def _load(self, need: Need) -> Found | Denial:
        found = self.world.facts.get(need)
        if found is None:
            assert isinstance(need, TokenNeed), "a flood made us ask the stores"
            return verify(need.token, ISSUERS, NO_KEYS, NOW)
        return found

    def invented(self, credential: str) -> Reason:
        return self.answer(bearing(b"Bearer " + credential.encode())).reason


def bearing(value: bytes) -> RequestHead:
    return head_of("GET", "/read", fields=((b"Authorization", value),))


@pytest.fixture
def shell() -> Shell:
    world = build(DOCUMENT)
    jitter = random.Random(1).random
    world.snapshot.memory = Memory(SIZES, jitter=jitter)
    world.snapshot.memory.lease_all(INSTANT + 1)
    return Shell(world)


class Honest:
    """Clients with good sessions and good tokens, some of them busier than others (Zipf)."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._chance = random.Random(2)
        world = shell.world
        self._heads = []
        for number in range(HONEST):
            session = present(world, {"as": "ann", "session": {"until": 10_000.0 + number}})
            token = present(world, {"token": {"sub": "ann", "exp": 10_000.0 + number}})
            self._heads += [head_of("GET", "/read", fields=fields) for fields in (session, token)]
        self._chance.shuffle(self._heads)
        self._weights = [*accumulate(1 / rank for rank in range(1, len(self._heads) + 1))]
        self.asked = self.answered = 0

    def ask(self) -> None:
        """One request of anybody's; counts whether memory alone answered it."""
        [head] = self._chance.choices(self._heads, cum_weights=self._weights)
        before = self._shell.loads.total()
        assert isinstance(self._shell.answer(head), Permit)
        self.asked += 1
        self.answered += self._shell.loads.total() == before

    def share(self) -> float:
        """Of the requests since the last call, how many memory answered alone."""
        share = self.answered / self.asked
        self.asked = self.answered = 0
        return share


@pytest.mark.parametrize("kinds", [SESSIONS, TOKENS, SESSIONS | TOKENS], ids=["s", "t", "both"])
def test_a_flood_takes_nothing_from_honest_clients(
    shell: Shell, kinds: dict[str, tuple[Invent, Reason]]
) -> None:
    chance, honest = random.Random(3), Honest(shell)
    memory = shell.world.snapshot.memory
    rounds = FLOOD // (3 * FLOOD_FOR_EACH_HONEST)
    for _ in range(2 * rounds):
        honest.ask()
    honest.share()
    for _ in range(rounds):
        honest.ask()
    before = honest.share()
    # Neither everything nor nothing fits: otherwise there would be nothing to take.
    assert 0.5 < before < 0.97
    invent = [maker for maker, _ in kinds.values()]
    for _ in range(rounds):
        honest.ask()
        for _ in range(FLOOD_FOR_EACH_HONEST):
            shell.invented(chance.choice(invent)(chance))
        assert memory.statistics().negative.entries <= SIZES.negative
    assert honest.share() == pytest.approx(before, abs=SHARE_WITHIN)
    counts = memory.statistics()
    assert counts.sessions.entries <= SIZES.sessions
    assert counts.tokens.entries <= SIZES.tokens


@pytest.mark.parametrize("kind", SESSIONS)
def test_no_invented_session_is_looked_for(shell: Shell, kind: str) -> None:
    invent, reason = SESSIONS[kind]
    chance = random.Random(4)
    before = shell.world.snapshot.memory.statistics()
    for _ in range(1000):
        assert shell.invented(invent(chance)) is reason
    assert not shell.loads
    assert shell.world.snapshot.memory.statistics() == before


@pytest.mark.parametrize("kind", TOKENS)
def test_invented_tokens_are_judged_once_and_kept_apart(shell: Shell, kind: str) -> None:
    invent, reason = TOKENS[kind]
    chance = random.Random(5)
    memory = shell.world.snapshot.memory
    for number in range(1000):
        token = invent(chance)
        for _ in range(3):
            assert shell.invented(token) is reason
        assert shell.loads == {TokenNeed: number + 1}
    counts = memory.statistics()
    assert counts.negative.entries == SIZES.negative
    assert counts.tokens.entries == counts.sessions.entries == counts.users.entries == 0

"""How long a warm decision takes: a head in, a Permit out, everything in memory.

Prints microseconds for tokens and sessions, 10 to 100 000 grants, 1 and 1 000 routes.
Run: python -m perf.micro.decide
"""

import time
from collections.abc import Callable
from typing import Final

from sidecar.authenticate.credential import CredentialRules
from sidecar.authenticate.opaque import check, digest, mint, signing_key
from sidecar.authorize.authorizer import Authorizer
from sidecar.authorize.permit import Permit
from sidecar.authorize.principal import IdentityFields
from sidecar.cache.memory import Memory
from sidecar.decide import Snapshot, decide
from sidecar.model.decision import Missing
from sidecar.model.facts import (
    Effect,
    Role,
    RoleGrant,
    RoleGraph,
    Rule,
    RuleGrant,
    Session,
    User,
    VerifiedToken,
)
from sidecar.model.head import RequestHead
from sidecar.model.need import RolesNeed, SessionNeed, UserNeed
from sidecar.model.shard import shard_of
from sidecar.route.rules import compile_routes
from sidecar.settings.schema import Cache, Credentials, Identity, Issuer, Jwks, RouteRule

SECRET: Final = "a secret of at least 32 characters, not secret"  # noqa: S105  # of this benchmark
WALL: Final = 1_800_000_000.0
INSTANT: Final = 1_000.0
ROUNDS: Final = 20_000


def head_of(path: str, field: tuple[bytes, bytes]) -> RequestHead:
    head = RequestHead()
    head.method, head.host, head.path = "GET", "app.example", path
    head.upgrade = None
    head.set_fields(((b"host", b"app.example"), (b"accept", b"*/*"), field))
    return head


def rules(count: int) -> list[RouteRule]:
    return [
        RouteRule(
            path=f"/api/v1/things{at}/{{thing}}/parts/{{part}}",
            methods=("GET",),
            permission="things:read",
            resource="things/{thing}/parts/{part}",
        )
        for at in range(count)
    ]


def user_of(grants: int) -> User:
    """Half of the grants are rules on single resources, half are roles on single resources."""
    return User(
        version=1,
        tenant="acme",
        subject="ann",
        roles=(
            RoleGrant("reader"),
            *(RoleGrant("owner", f"things/{at}/parts/2") for at in range(grants // 2)),
        ),
        rules=tuple(
            RuleGrant(Rule(Effect.ALLOW, "things:read", f"things/{at}/parts/1"))
            for at in range(grants // 2)
        ),
    )


GRAPH: Final = RoleGraph(
    version=1,
    tenant="acme",
    roles=(
        Role("reader", (), tuple(Rule(Effect.ALLOW, f"other{at}:read") for at in range(80))),
        Role("owner", ("reader",), (Rule(Effect.ALLOW, "things:*"),)),
    ),
)


def snapshot_of(routes: int, grants: int, *, memo: bool = True) -> tuple[Snapshot, CredentialRules]:
    issuer = Issuer(
        issuer="https://id.example", audiences=("app",), jwks=Jwks(file="x"), tenant="acme"
    )
    credentials = CredentialRules(Credentials(token_key=SECRET, issuers=(issuer,)))
    memory = Memory(Cache(), jitter=lambda: 0.5)
    memory.lease_all(INSTANT + 1e9)
    memory.put(UserNeed("acme", "ann"), user_of(grants), INSTANT)
    memory.put(RolesNeed("acme"), GRAPH, INSTANT)
    snapshot = Snapshot(
        routes=compile_routes(rules(routes), default_upstream="app"),
        credentials=credentials,
        memory=memory,
        authorizer=Authorizer(Cache(), IdentityFields(Identity()), memo=memo),
        leeways={"https://id.example": 5.0},
    )
    return snapshot, credentials


def with_token(snapshot: Snapshot, credentials: CredentialRules) -> tuple[bytes, bytes]:
    compact = b"e" * 200 + b"." + b"p" * 158 + b"." + b"s" * 342
    token = VerifiedToken(
        issuer="https://id.example",
        key_id="k",
        tenant="acme",
        subject="ann",
        expires_at=WALL + 3600,
    )
    snapshot.memory.put(credentials.token_need(compact), token, INSTANT)
    return b"authorization", b"Bearer " + compact


def with_session(snapshot: Snapshot, _credentials: CredentialRules) -> tuple[bytes, bytes]:
    key = signing_key(SECRET)
    token = mint(shard_of("acme"), b"r" * 32, key)
    session = Session(version=1, id="s1", tenant="acme", subject="ann", expires_at=WALL + 3600)
    snapshot.memory.put(SessionNeed(digest(token), check(token, key) or 0), session, INSTANT)
    return b"cookie", b"theme=dark; sidecar_session=" + token.encode()


def measure(call: Callable[[], object]) -> tuple[float, float]:
    """Microseconds: p50 and p99 of single calls, without the price of reading the clock."""
    clock = time.perf_counter_ns
    empty = sorted(-(clock() - clock()) for _ in range(ROUNDS))[ROUNDS // 2]
    taken = []
    for _ in range(ROUNDS):
        begun = clock()
        call()
        taken.append(clock() - begun - empty)
    taken.sort()
    return taken[ROUNDS // 2] / 1000, taken[ROUNDS * 99 // 100] / 1000


def main() -> None:
    print(f"{'credential':12}{'routes':>8}{'grants':>9}{'p50 us':>9}{'p99 us':>9}{'first ms':>10}")
    for name, present in (("token", with_token), ("session", with_session)):
        for routes in (1, 1000):
            for grants in (10, 1_000, 100_000):
                snapshot, credentials = snapshot_of(routes, grants)
                head = head_of(
                    f"/api/v1/things{routes - 1}/{grants // 2 - 1}/parts/1",
                    present(snapshot, credentials),
                )
                begun = time.perf_counter_ns()
                outcome = decide(head, WALL, INSTANT, snapshot)
                while isinstance(outcome, Missing):
                    work = outcome.work
                    while work is not None and not work.advance():
                        pass
                    outcome = decide(head, WALL, INSTANT, snapshot, done=work)
                first = (time.perf_counter_ns() - begun) / 1e6
                assert isinstance(outcome, Permit), outcome
                p50, p99 = measure(lambda: decide(head, WALL, INSTANT, snapshot))  # noqa: B023  # called at once
                print(f"{name:12}{routes:8}{grants:9}{p50:9.2f}{p99:9.2f}{first:10.2f}")


if __name__ == "__main__":
    main()

"""``python -m perf.footprint.parts``: which part of what is remembered takes how much.

The same facts as in ``perf.footprint``, put into memory in this process one kind after the other;
megabytes are those of private dirty pages, so what the allocator keeps counts.
"""

import gc
import os

import msgspec

from perf.footprint.stores import KEY, ROLES, RULES, SESSIONS, SHARD, token, user_name
from perf.workload import TENANT
from sidecar.authenticate.credential import CredentialRules
from sidecar.authenticate.opaque import digest
from sidecar.authorize.authorizer import Authorizer
from sidecar.authorize.permit import Permit
from sidecar.authorize.principal import IdentityFields
from sidecar.cache.memory import Memory
from sidecar.decide import Snapshot, decide
from sidecar.model.facts import Effect, Role, RoleGrant, RoleGraph, Rule, Session, User
from sidecar.model.need import RolesNeed, SessionNeed, UserNeed
from sidecar.route.rules import compile_routes
from sidecar.settings.schema import Cache, Credentials, Identity, RouteRule

from perf.footprint.__main__ import private_dirty  # isort: skip
from perf.micro.decide import head_of  # isort: skip

WALL, NOW = 1_800_000_000.0, 1_000.0


class Steps:
    """Prints what each step has added."""

    def __init__(self) -> None:
        self._before = self._now()

    def _now(self) -> float:
        gc.collect()
        return private_dirty(os.getpid())

    def done(self, what: str, count: int) -> None:
        now = self._now()
        added = now - self._before
        print(f"{what:42} {added:7.1f} MB {1e6 * added / count:9.0f} bytes each", flush=True)
        self._before = now


def main() -> None:
    memory = Memory(Cache(), jitter=lambda: 0.5)
    memory.lease_all(NOW + 1e9)
    snapshot = Snapshot(
        routes=compile_routes(
            [RouteRule(path="/x", permission="orders:read")], default_upstream="app"
        ),
        credentials=CredentialRules(Credentials(token_key=KEY)),
        memory=memory,
        authorizer=Authorizer(Cache(), IdentityFields(Identity())),
        leeways={},
    )
    graph = RoleGraph(
        version=1,
        tenant=TENANT,
        roles=tuple(
            Role(
                f"role-{number:03}",
                (),
                (
                    Rule(Effect.ALLOW, "orders:read"),
                    *(Rule(Effect.ALLOW, f"role-{number:03}:action-{n}") for n in range(RULES - 1)),
                ),
            )
            for number in range(ROLES)
        ),
    )
    encoded = msgspec.msgpack.encode(graph)
    steps = Steps()
    # As they come from a store: nothing is shared that a decoder does not share.
    memory.put(RolesNeed(TENANT), msgspec.msgpack.decode(encoded, type=RoleGraph), NOW)
    steps.done(f"the role graph, {ROLES} roles of {RULES} rules", ROLES)
    for number in range(SESSIONS):
        user = User(
            version=1,
            tenant=TENANT,
            subject=user_name(number),
            roles=(RoleGrant(f"role-{number % ROLES:03}"),),
        )
        decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(user), type=User)
        memory.put(UserNeed(decoded.tenant, decoded.subject), decoded, NOW)
    steps.done("users", SESSIONS)
    for number in range(SESSIONS):
        session = Session(
            version=0,
            id=f"session-{number:05}",
            tenant=TENANT,
            subject=user_name(number),
            expires_at=WALL + 1.0,
        )
        decoded_session = msgspec.msgpack.decode(msgspec.msgpack.encode(session), type=Session)
        memory.put(SessionNeed(digest(token(number)), SHARD), decoded_session, NOW)
    steps.done("sessions", SESSIONS)
    for many, what in (
        (1, "the role graph, indexed"),
        (ROLES, "role sets, compiled, and their sessions"),
        (SESSIONS, "sessions, compiled"),
    ):
        for number in range(many):
            field = (b"authorization", b"Bearer " + token(number).encode())
            assert isinstance(decide(head_of("/x", field), WALL, NOW, snapshot), Permit)
        steps.done(what, many)


if __name__ == "__main__":
    main()

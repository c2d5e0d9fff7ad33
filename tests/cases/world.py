"""A world for decisions: routes, users and credentials as a case file describes them.

It plays the shell: what a decision misses it looks up in its tables, puts into memory where there
is one, and asks again.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from sidecar.authenticate.credential import CredentialRules
from sidecar.authenticate.opaque import check, digest, mint, signing_key
from sidecar.authorize.authorizer import Authorizer
from sidecar.authorize.permit import Permit
from sidecar.authorize.principal import IdentityFields
from sidecar.cache.memory import Memory
from sidecar.decide import Snapshot, decide
from sidecar.model.decision import Denial, Missing
from sidecar.model.facts import (
    Effect,
    Role,
    RoleGrant,
    RoleGraph,
    Rule,
    RuleGrant,
    Session,
    Status,
    User,
    VerifiedToken,
)
from sidecar.model.head import RequestHead
from sidecar.model.need import (
    ABSENT,
    Found,
    Need,
    RolesNeed,
    SessionNeed,
    TokenNeed,
    UserNeed,
)
from sidecar.model.reason import Reason
from sidecar.model.route import Access
from sidecar.route.rules import compile_route, compile_routes
from sidecar.settings.schema import Cache, Credentials, Identity, Issuer, Jwks, RouteRule

SECRET: Final = "a secret of at least 32 characters, not secret"
ISSUER: Final = "https://id.example"
LEEWAY: Final = 5.0
INSTANT: Final = 1_000.0
_ROUNDS: Final = 3

Facts = dict[Need, Found | Denial]


def rule(text: str) -> Rule:
    """``deny orders:* on orders/7`` -> Rule."""
    statement, _, resource = text.partition(" on ")
    effect, action = statement.split(" ")
    return Rule(Effect(effect), action, resource or "*")


def role_grant(grant: str | dict[str, Any]) -> RoleGrant:
    """``clerk``, ``clerk on shops/1`` or a mapping with `until`."""
    if isinstance(grant, dict):
        return msgspec.structs.replace(role_grant(grant["role"]), expires_at=grant["until"])
    name, _, scope = grant.partition(" on ")
    return RoleGrant(name, scope or "*")


def rule_grant(grant: str | dict[str, Any]) -> RuleGrant:
    if isinstance(grant, dict):
        return RuleGrant(rule(grant["rule"]), grant["until"])
    return RuleGrant(rule(grant))


def head_of(
    method: str, path: str, *, host: str = "", fields: tuple[tuple[bytes, bytes], ...] = ()
) -> RequestHead:
    """A head as the parser would make it."""
    head = RequestHead()
    head.method, head.path, head.host = method, path, host or "app.example"
    head.target = path.encode("ascii")
    head.upgrade = None
    head.set_fields(fields)
    return head


@dataclass
class World:
    """What there is. `facts` is the truth that the stores would hold."""

    snapshot: Snapshot
    credentials: CredentialRules
    facts: Facts = field(default_factory=dict)
    remember: bool = True
    loads: int = 0

    def ask(self, head: RequestHead, now: float) -> Permit | Denial:
        """Decide, loading what is missing, as the pipeline does."""
        loaded: Facts = {}
        for _ in range(_ROUNDS + 1):
            outcome = decide(head, now, INSTANT, self.snapshot, loaded)
            if not isinstance(outcome, Missing):
                return outcome
            assert outcome.needs
            for need in outcome.needs:
                assert need not in loaded, "asked twice for the same"
                loaded[need] = self.facts.get(need, ABSENT)
                self.snapshot.memory.put(need, loaded[need], INSTANT)
                self.loads += 1
        raise AssertionError("a decision needs at most three rounds")


def build(document: dict[str, Any], *, memory: bool = True, memo: bool = True) -> World:
    """The world of a case file."""
    issuer = Issuer(issuer=ISSUER, audiences=("app",), jwks=Jwks(file="keys"), tenant="acme")
    credentials = CredentialRules(Credentials(token_key=SECRET, issuers=(issuer,)))
    regions = Memory(Cache(), jitter=lambda: 0.5, enabled=memory)
    regions.lease_all(INSTANT + 1)
    rules = msgspec.convert(document["routes"], list[RouteRule])
    own = [
        compile_route("/_sidecar/me", name="me", methods=("GET",), upstream="sidecar"),
        compile_route(
            "/_sidecar/account",
            name="account",
            methods=("GET",),
            upstream="sidecar",
            access=Access.AUTHENTICATED,
        ),
    ]
    snapshot = Snapshot(
        routes=compile_routes(rules, default_upstream="app", own=own),
        credentials=credentials,
        memory=regions,
        authorizer=Authorizer(Cache(), IdentityFields(Identity()), memo=memo),
        leeways={ISSUER: LEEWAY},
    )
    world = World(snapshot, credentials)
    for tenant, content in document.get("tenants", {}).items():
        world.facts |= _tenant(tenant, content)
    return world


def _tenant(tenant: str, content: dict[str, Any]) -> Facts:
    facts: Facts = {}
    roles = tuple(
        Role(
            name,
            tuple(role.get("inherits", ())),
            tuple(rule(text) for text in role.get("rules", ())),
        )
        for name, role in content.get("roles", {}).items()
    )
    if roles:
        facts[RolesNeed(tenant)] = RoleGraph(version=1, tenant=tenant, roles=roles)
    for subject, user in content.get("users", {}).items():
        facts[UserNeed(tenant, subject)] = User(
            version=1,
            tenant=tenant,
            subject=subject,
            status=Status(user.get("status", "active")),
            roles=tuple(role_grant(grant) for grant in user.get("roles", ())),
            rules=tuple(rule_grant(grant) for grant in user.get("rules", ())),
        )
    return facts


def session_token(name: str) -> str:
    """The token of the session called `name`."""
    return mint(3, name.encode().ljust(32, b"."), signing_key(SECRET))


def session_need(name: str) -> SessionNeed:
    token = session_token(name)
    shard = check(token, signing_key(SECRET))
    assert shard is not None
    return SessionNeed(digest(token), shard)


def present(world: World, asked: dict[str, Any]) -> tuple[tuple[bytes, bytes], ...]:
    """The fields of a case's request, its credential known to the world."""
    fields = [tuple(part.encode() for part in pair) for pair in asked.get("fields", ())]
    who = asked.get("as")
    if who is not None:
        fields.append(_sign_in(world, str(who), asked))
    if "token" in asked:
        fields.append(_token(world, asked["token"]))
    return tuple((pair[0], pair[1]) for pair in fields)


def _sign_in(world: World, who: str, asked: dict[str, Any]) -> tuple[bytes, bytes]:
    tenant, _, subject = who.rpartition("/")
    name = f"{who}{asked.get('session', '')}"
    given = asked.get("session", {})
    world.facts[session_need(name)] = Session(
        version=1,
        id=f"id of {who}",
        tenant=tenant or "acme",
        subject=subject,
        expires_at=given.get("until", 10_000.0),
        revoked_at=given.get("revoked"),
    )
    return b"Cookie", f"sidecar_session={session_token(name)}".encode()


def _token(world: World, claims: dict[str, Any]) -> tuple[bytes, bytes]:
    compact = f"{claims.get('sub', 'x')}.p{abs(hash(str(claims)))}.s".encode()
    need: TokenNeed = world.credentials.token_need(compact)
    if "refused" in claims:
        world.facts[need] = Denial(Reason(claims["refused"]), "as the case says")
    else:
        world.facts[need] = VerifiedToken(
            issuer=claims.get("iss", ISSUER),
            key_id="k1",
            tenant=claims.get("tenant", "acme"),
            subject=claims["sub"],
            expires_at=claims.get("exp", 10_000.0),
            not_before=claims.get("nbf", 0.0),
            audiences=frozenset(claims.get("aud", ["app"])),
            scopes=frozenset(claims.get("scopes", ())),
            roles=tuple(claims.get("roles", ())),
            known_users_only=claims.get("known_users_only", True),
        )
    return b"Authorization", b"Bearer " + compact

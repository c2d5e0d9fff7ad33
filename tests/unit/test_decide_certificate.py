"""Who is asking, where a certificate and a token may both be there (PROMISES 4)."""

from typing import Any

import pytest

from sidecar.authenticate.credential import CredentialRules
from sidecar.authorize.permit import Permit
from sidecar.decide import decide, decide_without_stores
from sidecar.model.certificate import ClientCertificate
from sidecar.model.decision import Denial, Missing
from sidecar.model.need import ABSENT, RolesNeed, UserNeed
from sidecar.model.reason import Reason
from sidecar.model.route import Evidence
from sidecar.settings.schema import Credentials, Spiffe
from tests.cases.world import INSTANT, SECRET, World, build, head_of, present, session_need

NOW = 1_000.0
DOCUMENT: dict[str, Any] = {
    "routes": [
        {"path": f"/{credential}", "permission": "a:read", "credential": credential}
        for credential in ("token", "certificate", "either")
    ]
    + [
        {
            "path": "/lenient",
            "permission": "a:read",
            "credential": "certificate",
            "last_known_good_seconds": 60.0,
        }
    ],
    "tenants": {
        "acme": {
            "roles": {"reader": {"rules": ["allow a:read"]}},
            "users": {
                "ann": {"roles": ["reader"]},
                "workload:orders": {"roles": ["reader"]},
                "workload:idle": {},
                "workload:off": {"roles": ["reader"], "status": "disabled"},
            },
        }
    },
}
SPIFFE = (
    Spiffe(trust_domain="prod", tenant="acme", subject_prefix="workload:"),
    Spiffe(trust_domain="lab", tenant="acme", subject_prefix="lab:", known_users_only=False),
)
PATHS = [f"/{each}" for each in Evidence]


def of(path: str, trust_domain: str = "prod", until: float = NOW + 1) -> ClientCertificate:
    return ClientCertificate(path.encode(), trust_domain, path, not_after=until)


ORDERS = of("orders")


@pytest.fixture
def world() -> World:
    world = build(DOCUMENT)
    world.snapshot.credentials = CredentialRules(Credentials(token_key=SECRET, spiffe=SPIFFE))
    return world


def ask(
    world: World,
    path: str,
    certificate: ClientCertificate | None,
    who: str = "",
    wall: float = NOW,
) -> Permit | Denial:
    """The decision, with all facts at hand."""
    head = head_of("GET", path, fields=present(world, {"as": who} if who else {}))
    facts = dict(world.facts)
    while True:
        outcome = decide(head, wall, INSTANT, world.snapshot, facts, None, certificate)
        if not isinstance(outcome, Missing):
            return outcome
        facts |= dict.fromkeys(outcome.needs, ABSENT)


def who_is(outcome: Permit | Denial) -> str:
    """The subject, or why not."""
    if isinstance(outcome, Denial):
        return str(outcome.reason)
    assert outcome.principal is not None
    return outcome.principal.subject


@pytest.mark.parametrize(
    ("certificate", "who", "outcomes"),
    [
        (None, "", ["no-credential", "no-credential", "no-credential"]),
        (None, "ann", ["ann", "no-credential", "ann"]),
        (ORDERS, "", ["no-credential", "workload:orders", "workload:orders"]),
        (ORDERS, "ann", ["ann", "several-credentials", "ann"]),
        (of("off"), "ann", ["ann", "several-credentials", "ann"]),
        (of("off"), "", ["no-credential", "user-disabled", "user-disabled"]),
        (of("idle"), "", ["no-credential", "not-granted", "not-granted"]),
        (of("nobody"), "", ["no-credential", "unknown-user", "unknown-user"]),
        (of("any", "lab"), "", ["no-credential", "not-granted", "not-granted"]),
        (of("orders", "else"), "", ["no-credential", "unknown-issuer", "unknown-issuer"]),
        (of("orders", until=NOW), "ann", ["ann", "several-credentials", "ann"]),
        (
            of("orders", until=NOW), "",
            ["no-credential", "certificate-expired", "certificate-expired"],
        ),
    ],
)  # fmt: skip
def test_the_route_says_which_counts(
    world: World, certificate: ClientCertificate | None, who: str, outcomes: list[str]
) -> None:
    assert [who_is(ask(world, path, certificate, who)) for path in PATHS] == outcomes


@pytest.mark.parametrize(
    "field",
    [
        (b"Authorization", b"Basic YTpi"),
        (b"Authorization", b"Bearer scs1_broken"),
        (b"Cookie", b"sidecar_session=broken"),
    ],
)
def test_a_token_that_is_no_good_never_becomes_the_workload(
    world: World, field: tuple[bytes, bytes]
) -> None:
    head = head_of("GET", "/either", fields=(field,))
    outcome = decide(head, NOW, INSTANT, world.snapshot, world.facts, None, ORDERS)
    assert isinstance(outcome, Denial)
    assert outcome.status == 401
    head = head_of("GET", "/certificate", fields=(field,))
    outcome = decide(head, NOW, INSTANT, world.snapshot, world.facts, None, ORDERS)
    assert isinstance(outcome, Denial)
    assert outcome.reason is Reason.SEVERAL_CREDENTIALS


def test_the_user_is_a_fact_like_any_other(world: World) -> None:
    """So disabling a workload works as for everybody."""
    head = head_of("GET", "/certificate")
    outcome = decide(head, NOW, INSTANT, world.snapshot, {}, None, ORDERS)
    assert isinstance(outcome, Missing)
    assert outcome.needs == (UserNeed("acme", "workload:orders"), RolesNeed("acme"))


def test_the_principal_says_how_it_was_recognized(world: World) -> None:
    outcome = ask(world, "/certificate", ORDERS)
    assert isinstance(outcome, Permit)
    assert outcome.principal is not None
    assert outcome.principal.credential == "certificate"
    assert outcome.principal.tenant == "acme"
    assert outcome.principal.roles == ("reader",)
    assert outcome.expires_at == ORDERS.not_after


def test_what_was_known_a_while_ago_counts_for_certificates_too(world: World) -> None:
    head = head_of("GET", "/lenient")
    for need in (UserNeed("acme", "workload:orders"), RolesNeed("acme")):
        world.snapshot.memory.put(need, world.facts[need], INSTANT)
    later = INSTANT + 10
    assert decide_without_stores(head, NOW, later, world.snapshot) is None
    permit = decide_without_stores(head, NOW, later, world.snapshot, certificate=ORDERS)
    assert isinstance(permit, Permit)
    assert permit.reason is Reason.LAST_KNOWN_GOOD


def test_sessions_and_certificates_have_keys_of_their_own(world: World) -> None:
    """What is compiled for one must never be found for the other."""
    impostor = ClientCertificate(session_need("ann").digest, "prod", "idle", not_after=NOW + 1)
    assert who_is(ask(world, "/token", None, "ann")) == "ann"
    assert who_is(ask(world, "/certificate", impostor)) == "not-granted"

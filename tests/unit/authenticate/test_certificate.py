"""For whom a client's certificate stands, and which stand for nobody."""

import pytest

from sidecar.authenticate.certificate import CertificateRules, read_certificate
from sidecar.model.certificate import ClientCertificate
from sidecar.model.decision import Denial
from sidecar.model.facts import VerifiedCertificate
from sidecar.model.reason import Reason
from sidecar.settings.schema import CertificateNames, Credentials, Spiffe
from tests.certificates import Authority

CA = Authority()
ORDERS = "spiffe://prod.example.com/ns/shop/sa/orders"
RULES = CertificateRules(
    Credentials(
        token_key="k" * 32,
        spiffe=(
            Spiffe(trust_domain="prod.example.com", tenant="acme", subject_prefix="workload:"),
            Spiffe(trust_domain="lab", tenant="lab", known_users_only=False),
        ),
        certificate_names=CertificateNames(tenant="acme", subject_prefix="cert:"),
    )
)


def valid(**parts: str) -> ClientCertificate:
    fingerprint = repr(parts).encode()
    return ClientCertificate(fingerprint, not_before=100.0, not_after=200.0, **parts)


def test_a_workload() -> None:
    read = read_certificate(CA.issue("ignored", uris=[ORDERS]).der)
    assert (read.trust_domain, read.path, read.flaw) == (
        "prod.example.com",
        "ns/shop/sa/orders",
        "",
    )
    verified = RULES.verify(read, read.not_before)
    assert isinstance(verified, VerifiedCertificate)
    assert (verified.tenant, verified.subject) == ("acme", "workload:ns/shop/sa/orders")
    assert verified.expires_at == read.not_after
    assert verified.fingerprint == read.fingerprint
    assert verified.known_users_only


def test_a_name() -> None:
    read = read_certificate(CA.issue("orders", names=["orders.internal"]).der)
    verified = RULES.verify(read, read.not_before)
    assert isinstance(verified, VerifiedCertificate)
    assert (verified.tenant, verified.subject) == ("acme", "cert:CN=orders")


def test_other_uris_are_no_spiffe_id() -> None:
    read = read_certificate(CA.issue("orders", uris=["https://example.com/x"]).der)
    assert (read.trust_domain, read.path, read.name, read.flaw) == ("", "", "CN=orders", "")


def test_without_a_usage_it_signs_nothing() -> None:
    assert read_certificate(CA.issue(uris=[ORDERS], usage=False).der).flaw == ""


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://prod.example.com",
        "spiffe://prod.example.com/",
        "spiffe://prod.example.com/ns/",
        "spiffe://prod.example.com//ns",
        "spiffe://prod.example.com/ns/../orders",
        "spiffe://prod.example.com/ns/.",
        "spiffe://prod.example.com/..",
        "spiffe://prod.example.com/%6es",
        "spiffe://prod.example.com/a b",
        "spiffe://prod.example.com/a?b",
        "spiffe://prod.example.com/a#b",
        "spiffe://prod.example.com:443/a",
        "spiffe://me@prod.example.com/a",
        "spiffe://Prod.example.com/a",
        "SPIFFE://prod.example.com/a",
        "spiffe:/a",
        "spiffe:///a",
        "spiffe://prod.example.com/" + 2048 * "a",
    ],
)
def test_malformed_ids(uri: str) -> None:
    assert read_certificate(CA.issue("n", uris=[uri]).der).flaw == (
        "its SPIFFE id is malformed or names no workload"
    )


@pytest.mark.parametrize("path", ["a", "...", "a/..b/c..", ".a", "A_-.9"])
def test_well_formed_paths(path: str) -> None:
    read = read_certificate(CA.issue(uris=[f"spiffe://lab/{path}"]).der)
    assert (read.path, read.flaw) == (path, "")


@pytest.mark.parametrize(
    ("der", "flaw"),
    [
        (CA.issue(uris=[ORDERS, ORDERS + "2"]).der, "a SPIFFE id is not its only URI"),
        (CA.issue(uris=["https://a", ORDERS]).der, "a SPIFFE id is not its only URI"),
        (
            CA.issue(uris=[ORDERS], signs=True, is_authority=True).der,
            "a workload's certificate must not be able to sign others",
        ),
        (
            CA.issue(uris=[ORDERS], signs=True).der,
            "a workload's certificate must not be able to sign others",
        ),
        (CA.issue(names=["a.example"]).der, "its subject has no printable name"),
        (CA.issue("a\u200bb").der, "its subject has no printable name"),
        (b"no certificate", "it cannot be read (ValueError)"),
    ],
)
def test_flaws(der: bytes, flaw: str) -> None:
    read = read_certificate(der)
    assert read.flaw == flaw
    outcome = RULES.verify(valid(flaw=flaw), 150.0)
    assert isinstance(outcome, Denial)
    assert outcome.reason is Reason.MALFORMED_CREDENTIAL


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (None, Reason.NO_CREDENTIAL),
        (valid(trust_domain="staging.example.com", path="a"), Reason.UNKNOWN_ISSUER),
        (valid(trust_domain="example.com", path="a"), Reason.UNKNOWN_ISSUER),
    ],
)
def test_refusals(certificate: ClientCertificate | None, reason: Reason) -> None:
    outcome = RULES.verify(certificate, 150.0)
    assert isinstance(outcome, Denial)
    assert outcome.reason is reason


def test_names_are_believed_only_where_the_settings_say_so() -> None:
    rules = CertificateRules(Credentials(token_key="k" * 32))
    outcome = rules.verify(valid(name="CN=a"), 150.0)
    assert isinstance(outcome, Denial)
    assert outcome.reason is Reason.UNKNOWN_ISSUER


def test_the_time_is_looked_at_each_time() -> None:
    certificate = valid(trust_domain="lab", path="a")
    reasons = []
    for wall in (99.9, 100.0, 199.9, 200.0, 150.0):
        outcome = RULES.verify(certificate, wall)
        reasons.append(outcome.reason if isinstance(outcome, Denial) else None)
    expired = Reason.CERTIFICATE_EXPIRED
    assert reasons == [expired, None, None, expired, None]


def test_one_certificate_gives_one_object() -> None:
    """What is compiled for it is found by identity."""
    first = RULES.verify(valid(trust_domain="lab", path="a"), 150.0)
    assert RULES.verify(valid(trust_domain="lab", path="a"), 151.0) is first
    assert isinstance(first, VerifiedCertificate)
    assert not first.known_users_only

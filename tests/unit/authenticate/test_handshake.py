"""Credentials where only a WebSocket handshake has them."""

import pytest

from sidecar.authenticate.credential import CredentialRules
from sidecar.authenticate.handshake import bearers, query_values, without_parameters
from sidecar.authenticate.opaque import digest, mint, signing_key
from sidecar.model.decision import Denial
from sidecar.model.head import RequestHead, Upgrade
from sidecar.model.need import SessionNeed, TokenNeed
from sidecar.model.reason import Reason
from sidecar.model.route import Evidence
from sidecar.settings.schema import Credentials, Issuer, Jwks, WebSocketCredential
from tests.cases.world import SECRET, head_of

ONE, OTHER = (mint(3, bytes((number,)) * 32, signing_key(SECRET)) for number in (1, 2))
NEED = SessionNeed(digest(ONE), 3)
COOKIE = (b"Cookie", b"sidecar_session=" + ONE.encode())
FIELD = (b"Authorization", b"Bearer " + ONE.encode())


def rules(**websocket: object) -> CredentialRules:
    issuer = Issuer(issuer="i", audiences=("a",), jwks=Jwks(file="k"), tenant="t")
    shown = WebSocketCredential(query_parameter="token", **websocket)  # type: ignore[arg-type] # of the tests
    return CredentialRules(Credentials(token_key=SECRET, issuers=(issuer,), websocket=shown))


def handshake(
    *fields: tuple[bytes, bytes], target: str = "/ws", subprotocols: tuple[bytes, ...] = ()
) -> RequestHead:
    head = head_of("GET", target, fields=fields)
    head.upgrade = Upgrade(b"", subprotocols)
    return head


SHOWN = b"sidecar.bearer." + ONE.encode()


@pytest.mark.parametrize(
    "head",
    [
        handshake(COOKIE),
        handshake(FIELD),
        handshake(subprotocols=(b"chat", SHOWN)),
        handshake(target=f"/ws?a&token={ONE}"),
        handshake(target=f"/ws?t%6fken={ONE}"),
    ],
)
def test_one_is_found_wherever_it_stands(head: RequestHead) -> None:
    assert rules().find(head) == NEED


@pytest.mark.parametrize(
    "head",
    [
        handshake(COOKIE, FIELD),
        handshake(COOKIE, subprotocols=(SHOWN,)),
        handshake(FIELD, target=f"/ws?token={ONE}"),
        handshake(subprotocols=(SHOWN, b"sidecar.bearer." + OTHER.encode())),
        handshake(target=f"/ws?token={ONE}&token={ONE}"),
        handshake(target=f"/ws?token={ONE}", subprotocols=(SHOWN,)),
        handshake(target=f"/ws?token={ONE}&sidecar_ticket=x"),
        handshake(FIELD, target="/ws?sidecar_ticket=x"),
    ],
)
def test_two_are_refused(head: RequestHead) -> None:
    found = rules().find(head)
    assert isinstance(found, Denial)
    assert found.reason is Reason.SEVERAL_CREDENTIALS


def test_others_are_no_credentials_in_requests() -> None:
    head = head_of("GET", f"/ws?token={ONE}")
    found = rules().find(head)
    assert isinstance(found, Denial)
    assert found.reason is Reason.NO_CREDENTIAL
    assert rules().ticket_of(head_of("GET", "/ws?sidecar_ticket=x")) is None


def test_a_subprotocol_that_is_turned_off() -> None:
    found = rules(subprotocol=False).find(handshake(subprotocols=(SHOWN,)))
    assert isinstance(found, Denial)
    assert found.reason is Reason.NO_CREDENTIAL


def test_tickets() -> None:
    head = handshake(target="/ws?x=1&sidecar_ticket=paper")
    assert rules().ticket_of(head) == b"paper"
    found = rules().find(head)
    assert isinstance(found, Denial)
    assert found.reason is Reason.UNKNOWN_SESSION
    assert head.upgrade is not None
    head.upgrade.presented, head.upgrade.ticket = NEED, True
    assert rules().find(head) == NEED
    same = handshake(COOKIE, target="/ws?sidecar_ticket=paper")
    assert same.upgrade is not None
    same.upgrade.presented, same.upgrade.ticket = NEED, True
    assert rules().find(same) == NEED
    same.upgrade.presented = SessionNeed(digest(OTHER), 3)
    refused = rules().find(same)
    assert isinstance(refused, Denial)
    assert refused.reason is Reason.SEVERAL_CREDENTIALS
    assert rules().ticket_of(handshake(target="/ws?sidecar_ticket=a&sidecar_ticket=b")) is None


def test_what_was_shown_later_is_the_credential() -> None:
    head = handshake(COOKIE)
    assert head.upgrade is not None
    head.upgrade.presented = SessionNeed(digest(OTHER), 3)
    assert rules().find(head) == SessionNeed(digest(OTHER), 3)
    assert rules().shown_later(ONE) == NEED
    assert isinstance(rules().shown_later("a.b.c"), TokenNeed)
    for wrong in ("ä", "x", "a.b", ""):
        assert isinstance(rules().shown_later(wrong), Denial)


def test_what_browsers_add_by_themselves() -> None:
    def ambient(head: RequestHead, evidence: Evidence = Evidence.TOKEN) -> bool:
        from sidecar.model.certificate import ClientCertificate  # noqa: PLC0415 - of one case

        certificate = None if evidence is Evidence.TOKEN else ClientCertificate(b"f")
        return rules().is_ambient(head, evidence, certificate)

    assert ambient(handshake(COOKIE))
    assert not ambient(handshake(FIELD))
    assert not ambient(handshake((b"Cookie", b"other=1")))
    assert not ambient(handshake(subprotocols=(SHOWN,)))
    assert ambient(handshake(), Evidence.CERTIFICATE)
    assert not ambient(handshake(FIELD), Evidence.EITHER)
    ticket = handshake(COOKIE)
    assert ticket.upgrade is not None
    ticket.upgrade.ticket = True
    assert not ambient(ticket)


def test_parameters_are_taken_out() -> None:
    names = frozenset((b"token", b"ticket"))
    assert rules().parameters == frozenset((b"token", b"sidecar_ticket"))
    for target, left in (
        (b"/ws", b"/ws"),
        (b"/ws?", b"/ws?"),
        (b"/ws?a=%20&b", b"/ws?a=%20&b"),
        (b"/ws?token=x", b"/ws"),
        (b"/ws?a&t%6Fken=x&&b=token", b"/ws?a&&b=token"),
        (b"/ws?ticket&token", b"/ws"),
        (b"/ws?token=x?y=z", b"/ws"),
    ):
        assert without_parameters(target, names) == left
    assert without_parameters(b"/ws?token=x", frozenset()) == b"/ws?token=x"
    assert query_values(b"/token=x", b"token") == []
    assert bearers((b"chat", b"sidecar.bearer.x")) == [b"x"]

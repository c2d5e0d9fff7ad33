"""Our own answers: to programs, to people, and what they never tell."""

import json

import pytest

from sidecar.forward.answers import Answers
from sidecar.model.decision import Denial
from sidecar.model.head import RequestHead
from sidecar.model.reason import STATUS, Reason
from sidecar.model.route import Access, Route
from sidecar.parse.request import RequestReader
from sidecar.settings.schema import Credentials
from tests.plane import fields_of

BROWSER = ("Sec-Fetch-Mode: navigate", "Accept: text/html,*/*")


def head(*fields: str, start: str = "GET /a?b=c&d HTTP/1.1") -> RequestHead:
    raw = "\r\n".join((start, "Host: h", *fields, "", "")).encode()
    found = RequestReader(target_bytes=8192, most_fields=100).read(raw)
    assert isinstance(found, RequestHead)
    return found


def answers(*, sign_in: str | None = None, help_text: str = "") -> Answers:
    credentials = Credentials(token_key="k" * 32, realm='a "realm"', sign_in_url=sign_in)
    return Answers(credentials, "X-Request-Id", help_text)


def refuse(
    denial: Denial, request: RequestHead | None = None, **settings: str
) -> tuple[int, dict[str, str], bytes]:
    octets = answers(**settings).refusal(denial, request or head(), b"id-1", keep_alive=True)
    start, _, body = octets.partition(b"\r\n\r\n")
    fields = fields_of(start + b"\r\n\r\n")
    assert fields["content-length"] == str(len(body))
    assert fields["cache-control"] == "no-store"
    assert fields["x-request-id"] == "id-1"
    return int(start[9:12]), fields, body


@pytest.mark.parametrize("reason", STATUS)
def test_every_refusal_is_a_problem_document_with_its_code(reason: Reason) -> None:
    status, fields, body = refuse(Denial(reason, "a secret detail"))
    assert status == STATUS[reason]
    assert fields["content-type"] == "application/problem+json"
    problem = json.loads(body)
    assert (problem["status"], problem["reason"], problem["request_id"]) == (
        status,
        reason,
        "id-1",
    )
    assert b"detail" not in body, "details are for operators"


@pytest.mark.parametrize("reason", STATUS)
def test_every_refusal_is_a_page_for_a_browser(reason: Reason) -> None:
    status, fields, body = refuse(Denial(reason), head(*BROWSER), help_text="Call <42>")
    assert status == STATUS[reason]
    assert fields["content-type"] == "text/html; charset=utf-8"
    assert reason.encode() in body
    assert b"Call &lt;42&gt;" in body


def test_a_challenge_names_an_error_only_where_a_credential_was_presented() -> None:
    """RFC 6750 section 3.1."""
    _, fields, _ = refuse(Denial(Reason.NO_CREDENTIAL))
    assert fields["www-authenticate"] == 'Bearer realm="a \\"realm\\""'
    _, fields, _ = refuse(Denial(Reason.TOKEN_EXPIRED))
    assert fields["www-authenticate"].endswith(
        'error="invalid_token", error_description="token-expired"'
    )


def test_browsers_are_sent_to_sign_in() -> None:
    url = "https://login.example/?to={target}"
    status, fields, body = refuse(Denial(Reason.NO_CREDENTIAL), head(*BROWSER), sign_in=url)
    assert (status, body) == (302, b"")
    assert fields["location"] == "https://login.example/?to=%2Fa%3Fb%3Dc%26d"
    status, _, _ = refuse(Denial(Reason.NO_CREDENTIAL), head(), sign_in=url)
    assert status == 401, "programs are told, not redirected"
    status, _, _ = refuse(Denial(Reason.NOT_GRANTED), head(*BROWSER), sign_in=url)
    assert status == 403, "signing in again would not help"


def test_scripts_of_a_browser_get_problems_not_pages() -> None:
    request = head("Sec-Fetch-Mode: cors", "Accept: text/html")
    _, fields, _ = refuse(Denial(Reason.NO_CREDENTIAL), request)
    assert fields["content-type"] == "application/problem+json"


def test_a_concealed_route_looks_like_no_route() -> None:
    route = Route(
        name="r",
        host=None,
        template="/a",
        methods=frozenset(),
        access=Access.AUTHENTICATED,
        conceal=True,
    )
    concealed = refuse(Denial(Reason.NOT_GRANTED, route=route))
    unknown = refuse(Denial(Reason.UNKNOWN_ROUTE))
    assert concealed == unknown


def test_methods_that_would_be_allowed() -> None:
    _, fields, _ = refuse(Denial(Reason.METHOD_NOT_ALLOWED, allow=("GET", "HEAD")))
    assert fields["allow"] == "GET, HEAD"


def test_a_head_request_gets_no_body() -> None:
    octets = answers().refusal(
        Denial(Reason.NOT_GRANTED), head(start="HEAD / HTTP/1.1"), b"i", keep_alive=False
    )
    assert octets.endswith(b"Connection: close\r\n\r\n")


def test_keep_alive_of_http_1_0_is_said() -> None:
    octets = answers().refusal(
        Denial(Reason.NOT_GRANTED), head(start="GET / HTTP/1.0"), b"i", keep_alive=True
    )
    assert b"Connection: keep-alive\r\n" in octets

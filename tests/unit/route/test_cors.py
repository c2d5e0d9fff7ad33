"""What pages of other sites are told."""

import pytest

from sidecar.model.cors import Cors
from sidecar.model.head import RequestHead
from sidecar.model.route import Access, Route
from sidecar.parse.request import RequestReader
from sidecar.route.cors import answer_fields, is_allowed, preflight_fields, requested_method
from tests.plane import fields_of

ORIGIN = "Origin: https://app.example"
ASKS = "Access-Control-Request-Method: PUT"
POLICY = Cors(origins=frozenset({"https://app.example", "https://other.example"}))


def head(*fields: str, start: str = "OPTIONS /a HTTP/1.1") -> RequestHead:
    raw = "\r\n".join((start, "Host: h", *fields, "", "")).encode("latin-1")
    found = RequestReader(target_bytes=8192, most_fields=100).read(raw)
    assert isinstance(found, RequestHead)
    return found


def route(*methods: str) -> Route:
    return Route(
        name="r", host=None, template="/a", methods=frozenset(methods), access=Access.PUBLIC
    )


def read(fields: bytes) -> dict[str, str]:
    assert fields.endswith(b"\r\n")
    return fields_of(b"HTTP/1.1 204 No Content\r\n" + fields + b"\r\n")


@pytest.mark.parametrize(
    ("fields", "start", "method"),
    [
        ((ORIGIN, ASKS), "OPTIONS /a HTTP/1.1", "PUT"),
        ((ORIGIN, ASKS, "Access-Control-Request-Headers: x-a"), "OPTIONS /a HTTP/1.1", "PUT"),
        ((ORIGIN, ASKS), "GET /a HTTP/1.1", ""),
        ((ASKS,), "OPTIONS /a HTTP/1.1", ""),
        ((ORIGIN,), "OPTIONS /a HTTP/1.1", ""),
        ((ORIGIN, ORIGIN, ASKS), "OPTIONS /a HTTP/1.1", ""),
        ((ORIGIN, ASKS, ASKS), "OPTIONS /a HTTP/1.1", ""),
        ((ORIGIN, ASKS, "Cookie: a=b"), "OPTIONS /a HTTP/1.1", ""),
        ((ORIGIN, ASKS, "Authorization: Bearer a"), "OPTIONS /a HTTP/1.1", ""),
        ((ORIGIN, ASKS, "Content-Length: 1"), "OPTIONS /a HTTP/1.1", ""),
        ((ORIGIN, ASKS, "Transfer-Encoding: chunked"), "OPTIONS /a HTTP/1.1", ""),
        ((ORIGIN, "Access-Control-Request-Method: P UT"), "OPTIONS /a HTTP/1.1", ""),
        ((ORIGIN, "Access-Control-Request-Method:"), "OPTIONS /a HTTP/1.1", ""),
        ((ORIGIN, "Access-Control-Request-Method: PUT, GET"), "OPTIONS /a HTTP/1.1", ""),
    ],
)
def test_only_what_browsers_send_is_a_preflight(
    fields: tuple[str, ...], start: str, method: str
) -> None:
    assert requested_method(head(*fields, start=start)) == method


@pytest.mark.parametrize(
    ("policy", "origin", "allowed"),
    [
        (POLICY, "https://app.example", True),
        (POLICY, "https://other.example", True),
        (POLICY, "https://app.example.evil.example", False),
        (POLICY, "https://evil-app.example", False),
        (POLICY, "http://app.example", False),
        (POLICY, "https://app.example:8443", False),
        (POLICY, "HTTPS://APP.EXAMPLE", False),
        (POLICY, "null", False),
        (POLICY, "*", False),
        (POLICY, "https://app.example https://evil.example", False),
        (Cors(origins=frozenset({"null"})), "null", True),
        (Cors(origins=frozenset({"*"})), "https://anybody.example", True),
        (Cors(origins=frozenset({"*"})), "null", True),
    ],
)
def test_origins_are_compared_as_they_are(policy: Cors, origin: str, *, allowed: bool) -> None:
    asked = head(f"Origin: {origin}", start="GET /a HTTP/1.1")
    assert is_allowed(policy, asked) is allowed
    fields = read(answer_fields(policy, asked))
    assert ("access-control-allow-origin" in fields) is (allowed or "*" in policy.origins)


def test_two_origins_are_none() -> None:
    asked = head(ORIGIN, ORIGIN, start="GET /a HTTP/1.1")
    assert not is_allowed(POLICY, asked)
    assert read(answer_fields(POLICY, asked)) == {"vary": "Origin"}


def test_answers_name_the_origin_and_vary() -> None:
    fields = read(answer_fields(POLICY, head(ORIGIN)))
    assert fields == {"access-control-allow-origin": "https://app.example", "vary": "Origin"}
    assert read(answer_fields(POLICY, head())) == {"vary": "Origin"}, "caches have to know"


def test_any_page_gets_a_star_and_nothing_that_varies() -> None:
    policy = Cors(origins=frozenset({"*"}), exposed=("X-Total",))
    assert read(answer_fields(policy, head(ORIGIN))) == {
        "access-control-allow-origin": "*",
        "access-control-expose-headers": "X-Total",
    }


def test_credentials_and_exposed_fields_are_for_allowed_pages_only() -> None:
    policy = Cors(origins=POLICY.origins, credentials=True, exposed=("X-Total", "ETag"))
    assert read(answer_fields(policy, head(ORIGIN))) == {
        "access-control-allow-origin": "https://app.example",
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "X-Total, ETag",
        "vary": "Origin",
    }
    assert read(answer_fields(policy, head("Origin: https://evil.example"))) == {"vary": "Origin"}


def test_a_preflight_is_told_everything() -> None:
    policy = Cors(
        origins=POLICY.origins,
        headers=("authorization", "x-a"),
        credentials=True,
        max_age_seconds=600,
    )
    assert read(preflight_fields(policy, route("PUT", "DELETE"), head(ORIGIN, ASKS))) == {
        "access-control-allow-origin": "https://app.example",
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "DELETE, PUT",
        "access-control-allow-headers": "authorization, x-a",
        "access-control-max-age": "600",
        "vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
    }


def test_methods_are_the_policy_s_or_the_route_s_or_the_one_that_was_asked_for() -> None:
    def methods(policy: Cors, of: Route) -> str:
        return read(preflight_fields(policy, of, head(ORIGIN, ASKS)))[
            "access-control-allow-methods"
        ]

    named = Cors(origins=POLICY.origins, methods=("PATCH",))
    assert methods(named, route("PUT")) == "PATCH"
    assert methods(POLICY, route("PUT")) == "PUT"
    assert methods(POLICY, route()) == "PUT"


def test_a_preflight_of_any_page() -> None:
    fields = read(
        preflight_fields(Cors(origins=frozenset({"*"})), route("PUT"), head(ORIGIN, ASKS))
    )
    assert fields["access-control-allow-origin"] == "*"
    assert "access-control-max-age" not in fields

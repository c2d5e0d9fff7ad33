"""Pages of other sites: preflights and the fields of answers."""

import pytest

from sidecar.model.reason import Reason
from sidecar.settings.schema import CorsRule, Forwarded, Overload, Rate, RouteRule
from tests.plane import OK, ScriptedUpstream, replying, running_plane

APP = "Origin: https://app.example"
EVIL = "Origin: https://evil.example"
ROUTES = (
    RouteRule(
        path="/api/{id}",
        methods=("PUT",),
        access="authenticated",
        cors=CorsRule(
            origins=("https://app.example",),
            headers=("Authorization", "X-Trace"),
            credentials=True,
        ),
    ),
    RouteRule(
        path="/api/{id}",
        methods=("GET",),
        access="public",
        cors=CorsRule(origins=("https://app.example",), exposed=("X-Total",)),
    ),
    RouteRule(path="/own", methods=("PUT",), access="authenticated", preflight="forward"),
    RouteRule(path="/closed", access="authenticated"),
)


def asks(method: str) -> str:
    return f"Access-Control-Request-Method: {method}"


async def test_a_preflight_is_answered_without_a_credential_and_without_the_upstream() -> None:
    serve, seen = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, routes=ROUTES) as plane,
    ):
        client = await plane.client()
        answer = await client.get("/api/7", APP, asks("PUT"), method="OPTIONS")
        assert answer.status == 204
        assert "content-length" not in answer.fields
        assert answer.fields["access-control-allow-origin"] == "https://app.example"
        assert answer.fields["access-control-allow-credentials"] == "true"
        assert answer.fields["access-control-allow-methods"] == "PUT"
        assert answer.fields["access-control-allow-headers"] == "authorization, x-trace"
        assert answer.fields["access-control-max-age"] == "600"
        assert answer.fields["x-request-id"]
        again = await client.get("/api/7", APP, asks("GET"), method="OPTIONS")
        assert again.fields["access-control-allow-methods"] == "GET, HEAD", "of the route asked for"
        assert "access-control-allow-credentials" not in again.fields
        (first, second) = plane.ended
        assert first.permit is not None
        assert first.permit.reason is Reason.PREFLIGHT
        assert (first.permit.route.methods, first.status) == (frozenset({"PUT"}), 204)
        assert second.status == 204
        assert not seen
        client.close()


async def test_another_page_is_refused() -> None:
    serve, seen = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, routes=ROUTES) as plane,
    ):
        client = await plane.client()
        for origin in (EVIL, "Origin: null"):
            answer = await client.get("/api/7", origin, asks("PUT"), method="OPTIONS")
            assert (answer.status, answer.json()["reason"]) == (403, Reason.ORIGIN_NOT_ALLOWED)
            assert answer.fields["vary"] == "Origin"
            assert "access-control-allow-origin" not in answer.fields
        assert not seen
        client.close()


@pytest.mark.parametrize(
    ("target", "fields", "status"),
    [
        ("/api/7", (asks("PUT"),), 405),  # no Origin
        ("/api/7", (APP,), 405),  # no method asked for
        ("/api/7", (APP, asks("DELETE")), 405),  # no route of that method
        ("/api/7", (APP, asks("PUT"), "Cookie: a=b"), 405),  # no browser sends that
        ("/api/7", (APP, asks("PUT"), "Authorization: Bearer x"), 405),
        ("/closed", (APP, asks("PUT")), 401),  # decided about like anything else
        ("/unknown", (APP, asks("PUT")), 404),
    ],
)
async def test_what_is_no_preflight_of_a_route_with_a_policy_is_decided_about(
    target: str, fields: tuple[str, ...], status: int
) -> None:
    serve, seen = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, routes=ROUTES) as plane,
    ):
        client = await plane.client()
        assert (await client.get(target, *fields, method="OPTIONS")).status == status
        assert not seen
        client.close()


async def test_a_route_can_leave_preflights_to_the_application() -> None:
    own = b"HTTP/1.1 204 x\r\nAccess-Control-Allow-Origin: https://own.example\r\n\r\n"
    serve, seen = replying(own)
    routes = (
        RouteRule(
            path="/own", methods=("PUT",), access="authenticated", preflight="forward",
            rates={"questions": Rate(per="route", requests=1, seconds=60.0)},
        ),
    )  # fmt: skip
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, routes=routes) as plane,
    ):
        client = await plane.client()
        answer = await client.get(
            "/own", EVIL, asks("PUT"), "X-Auth-User: admin", method="OPTIONS"
        )  # fmt: skip
        assert answer.status == 204
        assert answer.fields["access-control-allow-origin"] == "https://own.example"
        ((head, _),) = seen
        assert head.startswith(b"OPTIONS /own HTTP/1.1\r\n")
        assert b"X-Auth-User" not in head, "nobody was recognized"
        late = await client.get("/own", EVIL, asks("PUT"), method="OPTIONS")
        assert late.status == 429, "what reaches the application is limited"
        with_cookie = await client.get("/own", EVIL, asks("PUT"), "Cookie: a=b", method="OPTIONS")
        assert with_cookie.status == 405
        client.close()


PROXIED = Forwarded(trusted=("127.0.0.1",))


def client_of(number: int) -> str:
    return f"X-Forwarded-For: 192.0.2.{number}"


async def test_forwarded_preflights_use_up_nothing_that_requests_need() -> None:
    serve, seen = replying(OK)
    once = {
        "all": Rate(per="route", requests=1, seconds=60.0),
        "each": Rate(per="address", requests=1, seconds=60.0),
    }
    routes = (
        RouteRule(path="/own", methods=("PUT",), access="public", preflight="forward", rates=once),
    )
    everywhere = Overload(rates={"route": Rate(per="route", requests=2, seconds=60.0)})
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(
            upstream.url, routes=routes, limits=everywhere, forwarded=PROXIED
        ) as plane,
    ):  # fmt: skip
        client = await plane.client()

        async def preflight(number: int) -> tuple[int, str]:
            answer = await client.get(
                "/own", APP, asks("PUT"), client_of(number), method="OPTIONS"
            )  # fmt: skip
            return answer.status, answer.json()["reason"] if answer.status >= 400 else ""

        for number in range(5):
            assert await preflight(number) == (200, ""), "addresses do not know each other"
            assert await preflight(number) == (429, Reason.ADDRESS_RATE_EXCEEDED)
        assert len(seen) == 5
        first = await client.get("/own", client_of(1), method="PUT")
        assert first.status == 200, "whoever asks has its own"
        late = await client.get("/own", client_of(2), method="PUT")
        assert (late.status, late.json()["reason"]) == (429, Reason.ROUTE_RATE_EXCEEDED)
        assert await preflight(9) == (200, ""), "and the other way round"
        client.close()


async def test_rates_of_users_do_not_concern_forwarded_preflights() -> None:
    serve, _ = replying(OK)
    once = {"user": Rate(per="principal", requests=1, seconds=60.0)}
    routes = (
        RouteRule(path="/own", methods=("PUT",), access="public", preflight="forward", rates=once),
    )
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, routes=routes) as plane,
    ):
        client = await plane.client()
        for _ in range(3):
            assert (await client.get("/own", APP, asks("PUT"), method="OPTIONS")).status == 200
        client.close()


async def test_a_route_that_names_options_decides_who_may_send_it() -> None:
    serve, seen = replying(OK)
    routes = (
        RouteRule(path="/own/{id}", methods=("PUT",), access="authenticated", preflight="forward"),
        RouteRule(path="/own/{id}", methods=("OPTIONS",), access="authenticated"),
        RouteRule(path="/any", access="authenticated", preflight="forward"),
        RouteRule(path="/open", methods=("PUT",), access="authenticated", preflight="forward"),
        RouteRule(path="/{rest*}", methods=("OPTIONS",), access="authenticated"),
    )
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, routes=routes) as plane,
    ):
        client = await plane.client()
        refused = await client.get("/own/7", APP, asks("PUT"), method="OPTIONS")
        assert (refused.status, refused.json()["reason"]) == (401, Reason.NO_CREDENTIAL)
        assert not seen
        for target in ("/any", "/open"):
            answer = await client.get(target, APP, asks("PUT"), method="OPTIONS")
            assert answer.status == 200, "no route there names it"
        client.close()


UPSTREAM_HAS_ITS_OWN = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVary: Accept\r\nX-Total: 7\r\n"
    b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n"
    b"access-control-expose-headers: Secret\r\n\r\nok"
)


async def test_answers_carry_our_fields_and_not_the_application_s() -> None:
    serve, _ = replying(UPSTREAM_HAS_ITS_OWN)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, routes=ROUTES) as plane,
    ):
        client = await plane.client()
        answer = await client.get("/api/7", APP)
        assert answer.fields["access-control-allow-origin"] == "https://app.example"
        assert answer.fields["access-control-expose-headers"] == "X-Total"
        assert answer.fields["vary"] == "Accept|Origin"
        assert "access-control-allow-credentials" not in answer.fields
        for fields in ((EVIL,), ()):
            answer = await client.get("/api/7", *fields)
            assert answer.status == 200, "CORS is about reading, not about asking"
            assert not [name for name in answer.fields if name.startswith("access-control")]
            assert answer.fields["vary"] == "Accept|Origin"
        client.close()


async def test_routes_without_a_policy_keep_what_the_application_says() -> None:
    serve, _ = replying(UPSTREAM_HAS_ITS_OWN)
    routes = (*ROUTES, RouteRule(path="/plain", access="public"))
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, routes=routes) as plane,
    ):
        client = await plane.client()
        answer = await client.get("/plain", EVIL)
        assert answer.fields["access-control-allow-origin"] == "*"
        assert answer.fields["vary"] == "Accept"
        client.close()


async def test_pages_of_allowed_sites_can_read_refusals() -> None:
    async with running_plane("http://127.0.0.1:1", routes=ROUTES) as plane:
        client = await plane.client()
        refused = await client.get("/api/7", APP, "Content-Length: 0", method="PUT")
        assert refused.status == 401
        assert refused.fields["access-control-allow-origin"] == "https://app.example"
        broken = await client.get("/api/7", APP)
        assert broken.status == 502
        assert broken.fields["access-control-allow-origin"] == "https://app.example"
        other = await client.get("/api/7", EVIL, "Content-Length: 0", method="PUT")
        assert "access-control-allow-origin" not in other.fields
        client.close()


async def test_preflights_count_for_the_address() -> None:
    limits = Overload(rates={"few": Rate(per="address", requests=1, seconds=60.0)})
    async with running_plane("http://127.0.0.1:1", routes=ROUTES, limits=limits) as plane:
        client = await plane.client()
        assert (await client.get("/api/7", APP, asks("PUT"), method="OPTIONS")).status == 204
        refused = await client.get("/api/7", APP, asks("PUT"), method="OPTIONS")
        assert refused.status == 429
        assert refused.fields["access-control-allow-origin"] == "https://app.example"
        client.close()

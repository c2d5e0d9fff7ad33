"""Rates and overload, as clients meet them."""

import asyncio

import pytest

from sidecar.model.reason import Reason
from sidecar.settings.schema import CorsRule, Forwarded, Overload, Rate, RouteRule, Upstream
from tests.plane import (
    ANY,
    OK,
    Plane,
    RawClient,
    ScriptedUpstream,
    read_request,
    replying,
    request,
    running_plane,
)

FEW = {"few": Rate(per="address", requests=2, seconds=60.0)}
CLOSED = RouteRule(path="/closed", access="authenticated")


async def statuses(plane: Plane, *targets: str, fields: tuple[str, ...] = ()) -> list[int]:
    """Of requests on one connection."""
    client = await plane.client()
    found = [(await client.get(target, *fields)).status for target in targets]
    client.close()
    return found


async def test_an_address_is_refused_before_its_credential_is_looked_at() -> None:
    serve, seen = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(
            upstream.url, routes=(*ANY, CLOSED), limits=Overload(rates=FEW)
        ) as plane,
    ):  # fmt: skip
        client = await plane.client()
        assert (await client.get("/closed", "Authorization: Bearer bad")).status == 401
        assert (await client.get("/")).status == 200
        refused = await client.get("/closed", "Authorization: Bearer bad")
        assert refused.status == 429
        assert refused.json()["reason"] == Reason.ADDRESS_RATE_EXCEEDED
        assert 25 <= int(refused.fields["retry-after"]) <= 30
        assert refused.fields["ratelimit-policy"] == '"few";q=2;w=60'
        assert refused.fields["ratelimit"] == f'"few";r=0;t={refused.fields["retry-after"]}'
        assert refused.fields.get("connection") != "close", "whoever waits may go on"
        other = await plane.client()
        assert (await other.get("/")).status == 429, "a new connection is the same client"
        assert len(seen) == 1
        assert [exchange.denial.reason for exchange in plane.ended if exchange.denial] == [
            Reason.MALFORMED_CREDENTIAL,
            Reason.ADDRESS_RATE_EXCEEDED,
            Reason.ADDRESS_RATE_EXCEEDED,
        ]
        client.close()
        other.close()


async def test_clients_behind_a_trusted_proxy_are_told_apart() -> None:
    serve, _ = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(
            upstream.url, limits=Overload(rates=FEW), forwarded=Forwarded(trusted=("127.0.0.1",))
        ) as plane,
    ):
        one = ("X-Forwarded-For: 192.0.2.1",)
        assert await statuses(plane, "/", "/", "/", fields=one) == [200, 200, 429]
        # What it wrote itself before the proxy added its address changes nothing.
        forged = ("X-Forwarded-For: 203.0.113.5, 192.0.2.1",)
        assert await statuses(plane, "/", fields=forged) == [429]
        assert await statuses(plane, "/", fields=("X-Forwarded-For: 192.0.2.2",)) == [200]


async def test_whoever_is_not_trusted_cannot_name_another_client() -> None:
    serve, _ = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, limits=Overload(rates=FEW)) as plane,
    ):
        found = [
            await statuses(plane, "/", fields=(f"X-Forwarded-For: 192.0.2.{number}",))
            for number in range(3)
        ]
        assert found == [[200], [200], [429]]


async def test_a_route_has_limits_of_its_own() -> None:
    serve, _ = replying(OK)
    routes = (
        *ANY,
        RouteRule(
            path="/dear",
            access="public",
            rates={
                "dear-all": Rate(per="route", requests=3, seconds=60.0),
                "dear-each": Rate(per="address", requests=2, seconds=60.0),
            },
        ),
    )
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(
            upstream.url, routes=routes, forwarded=Forwarded(trusted=("127.0.0.1",))
        ) as plane,
    ):
        one, other = ("X-Forwarded-For: 192.0.2.1",), ("X-Forwarded-For: 192.0.2.2",)
        assert await statuses(plane, "/dear", "/dear", "/dear", fields=one) == [200, 200, 429]
        assert await statuses(plane, "/cheap", "/", fields=one) == [200, 200]
        client = await plane.client()
        assert (await client.get("/dear", *other)).status == 200
        refused = await client.get("/dear", *other)
        assert (refused.status, refused.json()["reason"]) == (429, Reason.ROUTE_RATE_EXCEEDED)
        assert refused.fields["ratelimit-policy"] == '"dear-all";q=3;w=60'
        client.close()


async def test_what_is_left_is_told_with_every_answer_where_that_is_asked_for() -> None:
    serve, _ = replying(OK)
    rates = {
        "client": Rate(per="address", requests=10, seconds=60.0),
        "each-route": Rate(per="route", requests=5, seconds=60.0, burst=2),
    }
    limits = Overload(rates=rates, rate_fields="always")
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, limits=limits) as plane,
    ):
        client = await plane.client()
        answer = await client.get("/a")
        assert answer.status == 200
        assert answer.fields["ratelimit-policy"] == '"client";q=10;w=60|"each-route";q=5;w=60'
        assert answer.fields["ratelimit"] == '"client";r=9;t=6|"each-route";r=1;t=12'
        assert (await client.get("/a")).status == 200
        assert (await client.get("/a")).status == 429
        client.close()


async def test_no_field_tells_of_limits_unless_asked_for() -> None:
    serve, _ = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, limits=Overload(rates=FEW)) as plane,
    ):
        client = await plane.client()
        assert "ratelimit" not in (await client.get("/")).fields
        client.close()


async def test_pages_of_allowed_sites_can_read_that_they_are_too_fast() -> None:
    serve, _ = replying(OK)
    cors = CorsRule(origins=("https://app.example",))
    routes = (RouteRule(path="/", access="public", cors=cors),)
    limits = Overload(rates={"few": Rate(per="address", requests=1, seconds=60.0)})
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, routes=routes, limits=limits) as plane,
    ):
        client = await plane.client()
        await client.get("/", "Origin: https://app.example")
        refused = await client.get("/", "Origin: https://app.example")
        assert refused.status == 429
        assert refused.fields["access-control-allow-origin"] == "https://app.example"
        assert (await client.get("/unknown")).status == 429
        client.close()


@pytest.mark.parametrize("kind", ["GET", "POST"])
async def test_beyond_the_bound_requests_are_refused_at_once(kind: str) -> None:
    release = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            await release.wait()
            writer.write(OK)

    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, limits=Overload(requests=2)) as plane,
    ):
        waiting = [await plane.client() for _ in range(2)]
        for client in waiting:
            await client.send(request("/slow"))
        await plane.until(lambda: upstream.connections == 2)
        late = await plane.client()
        refused = await late.get("/", "Content-Length: 0", method=kind)
        assert (refused.status, refused.json()["reason"]) == (503, Reason.OVERLOADED)
        assert refused.fields["retry-after"] == "1"
        release.set()
        assert [(await client.response()).status for client in waiting] == [200, 200]
        assert (await late.get("/")).status == 200, "there is room again"
        for client in (*waiting, late):
            client.close()


async def test_who_leaves_gives_room_to_others() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, _ = await read_request(reader)
        if b"/slow" in head:
            await asyncio.Event().wait()
        writer.write(OK)

    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, limits=Overload(requests=1)) as plane,
    ):
        for _ in range(3):
            gone = await plane.client()
            await gone.send(request("/slow"))
            await plane.until(lambda: plane.pool.size > plane.pool.idle)
            gone.reset()
            await plane.until(lambda: plane.pool.size == plane.pool.idle)
        client = await plane.client()
        assert (await client.get("/")).status == 200
        client.close()


async def test_newcomers_do_not_overtake_those_who_wait_for_a_connection() -> None:
    order: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await read_request(reader)
            order.append(head.split(b" ", 2)[1])
            if head.startswith(b"GET /first"):
                await proceed.wait()
            writer.write(OK)

    proceed = asyncio.Event()
    one = Upstream(url="http://127.0.0.1:1", connections=1)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, upstream=one) as plane,
    ):
        clients: dict[str, RawClient] = {}

        async def ask(target: str) -> None:
            clients[target] = await plane.client()
            await clients[target].send(request(target))

        await ask("/first")
        await plane.until(lambda: order == [b"/first"])
        for number in range(5):
            await ask(f"/waiting{number}")
            await plane.until(lambda number=number: plane.pool.statistics.waited == number + 1)  # type: ignore[misc] # mypy does not see the default
        proceed.set()
        # Pipelined behind the first: it is asked for in the very turn in which that one ends.
        await clients["/first"].send(request("/newcomer"))
        for client in clients.values():
            assert (await client.response()).status == 200
        assert (await clients["/first"].response()).status == 200
        assert order[:6] == [b"/first", *(b"/waiting%d" % number for number in range(5))]
        for client in clients.values():
            client.close()

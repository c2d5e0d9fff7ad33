"""The demo application, over a socket."""

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from sidecar.demo.application import create_application
from sidecar.demo.orders import MAX_ORDERS, ORDERS

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with TestClient(TestServer(create_application(event_seconds=0.01))) as client:
        yield client


async def test_health(client: Client) -> None:
    async with client.get("/healthz") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "ok"})


async def test_an_order_is_created_read_listed_and_deleted(client: Client) -> None:
    async with client.post("/api/orders", json={"item": "tea", "quantity": 3}) as answer:
        assert answer.status == 201
        place, created = answer.headers["Location"], await answer.json()
    assert created == {"id": created["id"], "item": "tea", "quantity": 3}
    async with client.get(place) as answer:
        assert await answer.json() == created
    async with client.get("/api/orders") as answer:
        assert created in (await answer.json())["orders"]
    async with client.delete(place) as answer:
        assert answer.status == 204
    async with client.get(place) as answer:
        assert answer.status == 404
    async with client.delete(place) as answer:
        assert answer.status == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"item": ""}',
        b'{"item": 3}',
        b'{"item": "tea", "quantity": 0}',
        b'{"item": "tea", "quantity": true}',
        b'{"item": "tea", "quantity": "1"}',
        json.dumps({"item": "x" * 201}).encode(),
    ],
)
async def test_what_makes_no_sense_is_refused(client: Client, body: bytes) -> None:
    async with client.post("/api/orders", data=body) as answer:
        assert answer.status == 400
        assert "error" in await answer.json()


async def test_orders_are_bounded(client: Client) -> None:
    app = client.app
    assert app is not None
    while len(app[ORDERS].all()) < MAX_ORDERS:
        app[ORDERS].create("tea", 1)
    async with client.post("/api/orders", json={"item": "one more"}) as answer:
        assert answer.status == 507


async def test_the_page_names_the_user_and_allows_only_its_own_script(client: Client) -> None:
    async with client.get("/", headers={"X-Auth-User": "alice"}) as answer:
        assert "<dd>alice</dd>" in await answer.text()
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_events_come_one_after_the_other(client: Client) -> None:
    async with client.get("/events") as answer:
        assert answer.content_type == "text/event-stream"
        ids: list[bytes] = []
        while len(ids) < 3:
            line = await answer.content.readline()
            if line.startswith(b"id: "):
                ids.append(line)
    assert ids == [b"id: 1\n", b"id: 2\n", b"id: 3\n"]


async def test_events_end_when_the_application_stops() -> None:
    server = TestServer(create_application(event_seconds=3600.0))
    async with TestClient(server) as client:
        answer = await client.get("/events")
        assert await answer.content.readline() == b"id: 1\n"
        async with asyncio.timeout(10):
            await server.close()
            rest = await answer.content.read()
        assert rest.endswith(b"\n\n")


async def test_an_upload_is_counted_and_digested(client: Client) -> None:
    body = b"sidecar" * 500_000
    async with client.post("/upload", data=io.BytesIO(body)) as answer:
        assert await answer.json() == {
            "bytes": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
        }


async def test_a_download_has_the_length_asked(client: Client) -> None:
    async with client.get("/download?bytes=200001") as answer:
        assert answer.headers["Content-Length"] == "200001"
        body = await answer.read()
    assert body == (bytes(range(256)) * 800)[:200_001]


async def test_a_download_of_nothing(client: Client) -> None:
    async with client.get("/download") as answer:
        assert (answer.status, await answer.read()) == (200, b"")


async def test_head_of_a_download_has_no_body(client: Client) -> None:
    async with client.head("/download?bytes=1000") as answer:
        assert answer.headers["Content-Length"] == "1000"
        assert await answer.read() == b""


@pytest.mark.parametrize("wanted", ["-1", "x", "1.5", "%C2%B2", "9" * 12, "0" * 4301])
async def test_a_download_of_a_strange_size_is_refused(client: Client, wanted: str) -> None:
    async with client.get(f"/download?bytes={wanted}") as answer:
        assert answer.status == 400


async def test_echo_tells_the_head_as_it_came(client: Client) -> None:
    # By hand: a client library would tidy what it sends.
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(
        b"GET /echo?a=%2F&b HTTP/1.1\r\nHost: demo\r\nX-One: 1\r\nx-ONE: 2\r\n"
        b"Connection: close\r\n\r\n"
    )
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {
        "method": "GET",
        "target": "/echo?a=%2F&b",
        "fields": [["Host", "demo"], ["X-One", "1"], ["x-ONE", "2"], ["Connection", "close"]],
    }

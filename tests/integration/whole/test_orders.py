"""What the README shows, request by request, and what it promises about revocation."""

import asyncio
import io
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from sidecar.accounts import Sessions
from sidecar.assembly import serving
from sidecar.assembly.deciding import Deciding
from sidecar.assembly.listening import listening
from sidecar.authenticate.opaque import signing_key
from sidecar.clock import wall
from sidecar.embedded import EmbeddedStack
from sidecar.model.facts import Status
from sidecar.settings.schema import Features, Postgres
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.store.sessions import SessionRows
from sidecar.store.users import Users
from sidecar.sync.publisher import Publisher
from sidecar.sync.redis_cache import RedisCache, open_client
from tests.integration.whole.conftest import KEY, Start, Whole, settings

# (who, method, path) -> (status, reason of the refusal).
TABLE = [
    ("alice", "GET", "/api/orders", 200, None),
    ("alice", "GET", "/api/orders/1", 200, None),
    ("alice", "POST", "/api/orders", 201, None),
    ("alice", "DELETE", "/api/orders/2", 204, None),
    ("bob", "GET", "/api/orders", 200, None),
    ("bob", "POST", "/api/orders", 201, None),
    ("bob", "DELETE", "/api/orders/1", 403, "not-granted"),
    ("carol", "GET", "/api/orders", 200, None),
    ("carol", "HEAD", "/api/orders", 200, None),
    ("carol", "POST", "/api/orders", 403, "not-granted"),
    ("carol", "DELETE", "/api/orders/1", 403, "not-granted"),
    ("mallory", "GET", "/api/orders", 401, "user-disabled"),
    ("", "GET", "/api/orders", 401, "no-credential"),
    ("nonsense", "GET", "/api/orders", 401, "malformed-credential"),
    ("", "GET", "/healthz", 200, None),
    ("alice", "GET", "/unknown", 404, "unknown-route"),
    ("alice", "PUT", "/api/orders", 405, "method-not-allowed"),
    ("alice", "GET", "/_sidecar/other", 404, "unknown-route"),
]


async def check_table(whole: Whole) -> None:
    for who, method, path, status, reason in TABLE:
        body = {"json": {"item": "tea", "quantity": 1}} if method == "POST" else {}
        found, answer = await whole.ask(who, method, path, **body)
        assert found == status, (who, method, path, answer)
        if reason is not None and method != "HEAD":
            assert answer["reason"] == reason


async def test_who_may_do_what(start: Start) -> None:
    async with start() as whole:
        await check_table(whole)
        assert await whole.metric('sidecar_cache_lookups_total{region="users",result="hit"}') > 0


# What only changes when something is loaded; off together, for a start takes a second.
AHEAD = ("warming", "refresh_ahead", "prediction", "revalidation", "sign_in_warming")


@pytest.mark.parametrize(
    "features",
    [
        dict.fromkeys(Features.__struct_fields__, False),
        dict.fromkeys(AHEAD, False),
        *({name: False} for name in Features.__struct_fields__ if name not in AHEAD),
    ],
    ids=lambda features: next(iter(features)) if len(features) == 1 else f"{len(features)} off",
)
async def test_the_answers_are_the_same_without_optimisations(
    start: Start, database: str, features: dict[str, bool]
) -> None:
    async with start(features=features) as whole, Pool(Postgres(dsn=database)) as pool:
        await check_table(whole)
        await Users(pool).set_status("demo", "bob", Status.DISABLED)
        assert await until_refused(whole, "bob") == "user-disabled"
        await Users(pool).set_status("demo", "bob", Status.ACTIVE)
        async with asyncio.timeout(10):
            while (await whole.ask("bob", "GET", "/api/orders"))[0] != 200:
                await asyncio.sleep(0.01)


async def test_the_answers_are_the_same_without_redis(start: Start) -> None:
    async with start(redis=None) as whole:
        await check_table(whole)


async def test_the_upstream_learns_who_is_asking_and_nothing_else(start: Start) -> None:
    async with start() as whole:
        _, echo = await whole.ask("carol", "GET", "/echo", headers={"X-Auth-User": "root"})
    fields = {name.lower(): value for name, value in echo["fields"]}
    assert fields["x-auth-user"] == "carol"
    assert fields["x-auth-tenant"] == "demo"
    assert fields["x-auth-roles"] == "auditor,reader"
    assert "authorization" not in fields


async def test_who_am_i_and_signing_out(start: Start) -> None:
    async with start() as whole:
        status, me = await whole.ask("bob", "GET", "/_sidecar/me")
        assert (status, me["subject"], me["roles"]) == (200, "bob", ["clerk"])
        fields = {"Authorization": f"Bearer {whole.tokens['bob']}"}
        async with whole.session.post(whole.url + "/_sidecar/sign-out", headers=fields) as answer:
            assert answer.status == 204
            assert answer.headers["Set-Cookie"].startswith('sidecar_session=""')
            assert "Server" not in answer.headers
        status, problem = await whole.ask("bob", "GET", "/api/orders")
        assert (status, problem["reason"]) == (401, "session-revoked")
        assert (await whole.ask("alice", "GET", "/api/orders"))[0] == 200


async def test_a_cookie_is_a_credential_and_does_not_go_upstream(start: Start) -> None:
    async with start() as whole:
        cookie = {"Cookie": f"a=b; sidecar_session={whole.tokens['alice']}"}
        status, echo = await whole.ask("", "GET", "/echo", headers=cookie)
        assert status == 200
        assert ["Cookie", "a=b"] in echo["fields"]
        status, problem = await whole.ask("bob", "GET", "/echo", headers=cookie)
        assert (status, problem["reason"]) == (400, "several-credentials")


async def until_refused(whole: Whole, who: str) -> str:
    """The reason of the first refusal; fails when there is none in two seconds."""
    async with asyncio.timeout(2):
        while True:
            status, answer = await whole.ask(who, "GET", "/api/orders")
            if status != 200:
                assert status in {401, 403}
                return str(answer["reason"])


async def test_revoking_a_session_ends_it_at_once(
    start: Start, database: str, stack: EmbeddedStack
) -> None:
    async with start() as whole, Pool(Postgres(dsn=database)) as pool:
        for _ in range(3):
            assert (await whole.ask("bob", "GET", "/api/orders"))[0] == 200
        redis = settings(database, stack.redis_url, whole.url).stores.redis
        assert redis is not None
        client = open_client(redis)
        publisher = Publisher(RedisCache(client, redis.prefix, 60.0), Outbox(pool))
        sessions = Sessions(SessionRows(pool), publisher.publish, signing_key(KEY), wall=wall)
        ended = await sessions.revoke_all("demo", "bob")
        assert ended.sessions == 1
        assert await until_refused(whole, "bob") == "session-revoked"
        assert (await whole.ask("alice", "GET", "/api/orders"))[0] == 200
        await client.aclose()


async def test_direct_sql_changes_are_noticed(start: Start, database: str) -> None:
    """Triggers write the outbox, the relay sends it: nobody has to use our commands."""
    async with start() as whole, Pool(Postgres(dsn=database)) as pool:
        assert (await whole.ask("carol", "GET", "/api/orders"))[0] == 200
        async with pool.transaction() as connection:
            await connection.execute(b"DELETE FROM auth_role_parent WHERE role = 'auditor'")
        assert await until_refused(whole, "carol") == "not-granted"
        async with pool.transaction() as connection:
            await connection.execute(
                b"UPDATE auth_user SET status = 'disabled' WHERE subject = 'bob'"
            )
        assert await until_refused(whole, "bob") == "user-disabled"


async def test_two_sidecars_hear_of_a_change(start: Start, database: str) -> None:
    async with start() as first, start() as second, Pool(Postgres(dsn=database)) as pool:
        for whole in (first, second):
            assert (await whole.ask("bob", "GET", "/api/orders"))[0] == 200
        await Users(pool).set_status("demo", "bob", Status.DISABLED)
        for whole in (first, second):
            assert await until_refused(whole, "bob") == "user-disabled"


async def test_an_event_stream_streams(start: Start) -> None:
    async with start() as whole:
        fields = {"Authorization": f"Bearer {whole.tokens['carol']}"}
        async with whole.session.get(whole.url + "/events", headers=fields) as answer:
            assert answer.content_type == "text/event-stream"
            first = await answer.content.readline()
            assert first
        # The client left in the middle: the sidecar serves on.
        assert (await whole.ask("carol", "GET", "/api/orders"))[0] == 200


async def test_large_bodies_both_ways(start: Start) -> None:
    size = 20_000_000
    async with start() as whole:
        status, counted = await whole.ask("bob", "POST", "/upload", data=io.BytesIO(b"x" * size))
        assert (status, counted["bytes"]) == (200, size)

        async def pieces() -> object:
            for _ in range(200):
                yield b"y" * 100_000

        status, counted = await whole.ask("bob", "POST", "/upload", data=pieces())
        assert (status, counted["bytes"]) == (200, size)
        status, body = await whole.ask("bob", "GET", f"/download?bytes={size}")
        assert (status, len(body)) == (200, size)


async def test_stores_that_are_down_are_503(start: Start) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        dead = sock.getsockname()[1]
    async with start(
        redis=f"redis://127.0.0.1:{dead}", dsn=f"postgresql://x@127.0.0.1:{dead}/x"
    ) as whole:
        status, problem = await whole.ask("alice", "GET", "/api/orders")
        assert (status, problem["reason"]) == (503, "stores-unavailable")
        assert (await whole.ask("", "GET", "/healthz"))[0] == 200
        forged = whole.tokens["alice"][:-1] + "!"
        assert (await whole.ask(forged, "GET", "/api/orders"))[0] == 401
        async with whole.session.get(whole.admin + "/readyz") as answer:
            assert answer.status == 503
        async with whole.session.get(whole.admin + "/healthz") as answer:
            assert answer.status == 200


async def test_without_redis_it_stays_ready(start: Start) -> None:
    """All sidecars of a Redis would leave together, although PostgreSQL answers."""
    async with start(redis="redis://127.0.0.1:9/0") as whole:
        assert (await whole.ask("alice", "GET", "/api/orders"))[0] == 200
        assert await whole.metric("sidecar_lease_valid") == 0.0
        async with whole.session.get(whole.admin + "/readyz") as answer:
            assert (answer.status, await answer.text()) == (200, "ready\n")


async def test_it_is_not_ready_before_clients_can_connect(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, str]] = []

    async def look(deciding: Deciding) -> None:
        """In the place of warming: the admin listener is up, the other is not."""
        for address in admin_addresses:
            async with aiohttp.ClientSession() as session, session.get(address) as answer:
                told.append((answer.status, await answer.text()))
        assert deciding.memory.statistics().users.entries == 0

    admin_addresses: list[str] = []

    @asynccontextmanager
    async def noting(*arguments: Any, **more: Any) -> AsyncIterator[str]:
        async with listening(*arguments, **more) as address:
            admin_addresses.append(address + "/readyz")
            yield address

    monkeypatch.setattr(serving, "listening", noting)
    monkeypatch.setattr(Deciding, "warm", look)
    async with start():
        assert told == [(503, "not ready: starting\n")]


async def test_nothing_of_the_admin_listener_is_reachable_by_clients(start: Start) -> None:
    async with start() as whole:
        for path in ("/metrics", "/readyz", "/_sidecar/metrics"):
            assert (await whole.ask("alice", "GET", path))[0] == 404
        async with whole.session.get(whole.admin + "/readyz") as answer:
            assert (answer.status, await answer.text()) == (200, "ready\n")


async def test_metrics_and_audit_tell_what_happened(
    start: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    async with start(audit={"sink": f"file:{file}", "flush_seconds": 0.01}) as whole:
        await whole.ask("bob", "GET", "/api/orders?secret=1")
        await whole.ask("bob", "DELETE", "/api/orders/1")
        await whole.ask("", "GET", "/../etc")
        granted = await whole.metric(
            'sidecar_requests_total{reason="granted",route="GET /api/orders",status="200"}'
        )
        assert granted == 1.0
        assert await whole.metric("sidecar_lease_valid") == 1.0
        assert await whole.metric('sidecar_resyncs_total{cause="started"}') == 16.0
        assert await whole.metric('sidecar_reads_total{outcome="postgres"}') > 0
        assert await whole.metric('sidecar_loads_total{kind="SessionNeed",tier="postgres"}') > 0
    records = [json.loads(line) for line in file.read_text().splitlines()]
    first, second, *_ = records
    assert (first["outcome"], first["subject"], first["via"]) == ("permit", "bob", ["clerk"])
    assert first["path"] == "/api/orders"
    assert (second["outcome"], second["reason"], second["status"]) == ("deny", "not-granted", 403)
    text = file.read_text()
    assert "secret" not in text
    assert whole.tokens["bob"] not in text


async def test_ending_breaks_off_what_does_not_finish(start: Start) -> None:
    """An event stream is cut at the deadline, visibly; what has not begun is refused."""
    async with start() as whole:
        host, port = whole.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"GET /events HTTP/1.1\r\nHost: h\r\n"
            f"Authorization: Bearer {whole.tokens['carol']}\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"200 OK" in head
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.close()

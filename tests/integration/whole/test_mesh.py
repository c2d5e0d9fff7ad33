"""Workloads known by their certificates, through everything: TLS, decision, upstream, audit."""

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import aiohttp

from sidecar.demo.tenant import prepare
from sidecar.model.facts import Status
from sidecar.settings.schema import Postgres
from sidecar.store.pool import Pool
from sidecar.store.users import Users
from tests.certificates import Authority
from tests.integration.whole.conftest import KEY, Start, Whole
from tests.tls_clients import trusting

WORKLOAD = "workload:ns/shop/sa/billing"
ROUTES: list[dict[str, Any]] = [
    {"path": "/echo", "permission": "orders:read", "credential": credential, "host": credential}
    for credential in ("token", "certificate", "either")
]


async def ask(
    whole: Whole, host: str, context: ssl.SSLContext, token: str = ""
) -> tuple[int, dict[str, Any]]:
    """Status and body, over a connection of its own."""
    fields = {"Host": host} | ({"Authorization": f"Bearer {token}"} if token else {})
    connector = aiohttp.TCPConnector(ssl=context)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(whole.url + "/echo", headers=fields) as answer,
    ):
        body: dict[str, Any] = json.loads(await answer.read())
        return answer.status, body


async def test_a_workload_is_known_by_its_certificate(
    start: Start, database: str, tmp_path: Path
) -> None:
    authority = Authority()
    certificate, key = authority.server().write(tmp_path, "server")
    tls = {
        "certificate": certificate,
        "key": key,
        "client_ca": authority.write(tmp_path),
        "client_certificate": "optional",
    }
    spiffe = [{"trust_domain": "prod", "tenant": "demo", "subject_prefix": "workload:"}]
    mesh = {
        "listen": {"address": "127.0.0.1:0", "tls": tls, "deadlines": {"drain_seconds": 1.0}},
        "credentials": {"token_key": KEY, "spiffe": spiffe},
        "routes": ROUTES,
        "audit": {"sink": f"file:{tmp_path / 'audit.jsonl'}", "flush_seconds": 0.01},
    }
    leaf = authority.issue(uris=["spiffe://prod/ns/shop/sa/billing"])
    workload, nobody = trusting(authority, leaf, tmp_path), trusting(authority)
    async with Pool(Postgres(dsn=database)) as pool:
        await prepare(pool, KEY, {})
        await Users(pool).create("demo", WORKLOAD)
        await Users(pool).assign("demo", WORKLOAD, "reader")
        async with start(**mesh) as whole:
            bob = whole.tokens["bob"]
            for host, token, context, outcome in (
                ("token", bob, workload, "bob"),
                ("token", "", workload, "no-credential"),
                ("certificate", "", workload, WORKLOAD),
                ("certificate", "", nobody, "no-credential"),
                ("certificate", bob, workload, "several-credentials"),
                ("either", "", workload, WORKLOAD),
                ("either", bob, workload, "bob"),
                ("either", bob, nobody, "bob"),
            ):
                status, body = await ask(whole, host, context, token)
                if status == 200:
                    fields = {name.lower(): value for name, value in body["fields"]}
                    assert fields["x-auth-user"] == outcome
                    assert fields["x-forwarded-proto"] == "https"
                else:
                    assert body["reason"] == outcome

            await Users(pool).set_status("demo", WORKLOAD, Status.DISABLED)
            async with asyncio.timeout(10):
                while (await ask(whole, "certificate", workload))[0] == 200:
                    await asyncio.sleep(0.01)
            _, refused = await ask(whole, "certificate", workload)
            assert refused["reason"] == "user-disabled"
            assert (await ask(whole, "token", workload, bob))[0] == 200
        records = [json.loads(line) for line in whole.audit.read_text().splitlines()]
        permitted = [each for each in records if each["outcome"] == "permit"]
        assert {each["subject"] for each in permitted} == {"bob", WORKLOAD}
        assert {each["tenant"] for each in permitted} == {"demo"}

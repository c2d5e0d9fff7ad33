"""Sidecar with everything on: embedded stores, users with roles, decisions written to a file."""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import psycopg

import sidecar
from perf.machine import free_port
from perf.peers.peer import Guard, Peer, Site, running, wait_until_answers
from perf.rounds import upstream
from perf.workload import AUDIENCE, ISSUER, OUTSIDER, PATH, PERMISSION, TENANT, TOKENS
from perf.workload import subject as user_name
from sidecar.embedded import EmbeddedStack
from sidecar.store.migrate import migrate

NAME = "sidecar"
NAME_TLS = "sidecar-tls"

# Each user holds one of them and all inherit the one that matters here.
ROLES = 20
RULES = 20
CREATE = "orders:create"
# Of all requests, as design targets say; the collector's own CPU is not the sidecar's.
TRACED = 0.01

_ROUTES = [
    {"path": "/healthz", "access": "public"},
    {"path": PATH, "methods": ["GET"], "permission": PERMISSION},
    {"path": PATH, "methods": ["POST"], "permission": CREATE},
    {
        "path": PATH + "/{order_id}",
        "permission": PERMISSION,
        "resource": "orders/{order_id}",
    },
]


@contextmanager
def started(site: Site) -> Iterator[Peer]:
    """Sidecar before the upstream."""
    with configured(site, NAME) as peer:
        yield peer


@contextmanager
def started_tls(site: Site) -> Iterator[Peer]:
    """Sidecar before the upstream, whose clients speak TLS 1.3."""
    tls = {
        "minimum_version": "1.3",
        "certificate": str(site.workload.certificate),
        "key": str(site.workload.private_key),
    }
    with configured(site, NAME_TLS, listen={"tls": tls}) as peer:
        yield peer


@contextmanager
def configured(
    site: Site,
    name: str,
    listen: Mapping[str, object] | None = None,
    application: Mapping[str, object] | None = None,
    routes: Sequence[Mapping[str, object]] = (),
) -> Iterator[Peer]:
    """Sidecar with more in the sections of its listener and of its upstream, and more routes."""
    folder = site.folder / name
    folder.mkdir()
    # PostgreSQL may have to run as somebody else, who must reach its folder.
    site.folder.chmod(0o711)
    folder.chmod(0o711)
    port, admin, log = free_port(), free_port(), folder / "sidecar.out"
    with (
        EmbeddedStack(folder / "stores", durable=False) as stores,
        upstream("perf.load.collector") as collector,
    ):
        asyncio.run(migrate(stores.database_url))
        _seed(stores.database_url)
        settings = folder / "sidecar.yaml"
        # JSON is YAML.
        settings.write_text(
            json.dumps(
                {
                    "listen": {"address": f"127.0.0.1:{port}", **(listen or {})},
                    "admin": {"address": f"127.0.0.1:{admin}"},
                    "upstreams": {
                        "app": {
                            "url": f"http://127.0.0.1:{site.upstream}",
                            **(application or {}),
                        }
                    },
                    "stores": {
                        "postgres": {"dsn": stores.database_url},
                        "redis": {"url": stores.redis_url},
                    },
                    "audit": {"sink": f"file:{folder}/audit.jsonl"},
                    # The bound must not make it less than what is claimed.
                    "tracing": {
                        "endpoint": f"http://127.0.0.1:{collector}/v1/traces",
                        "ratio": TRACED,
                        "spans_per_second": 10_000,
                    },
                    "credentials": _credentials(site),
                    "routes": [*_ROUTES, *routes],
                }
            )
        )
        command = [sys.executable, "-m", "sidecar", "run", "--config", str(settings)]
        with running(command, log) as child:
            wait_until_answers(child, admin, "/readyz", log)
            tls = bool(listen and "tls" in listen)
            yield Peer(name, sidecar.__version__, port, child.pid, Guard.AUTHORIZES, tls=tls)


def _credentials(site: Site) -> dict[str, object]:
    return {
        "token_key": "not a secret: it is for a benchmark",
        "issuers": [
            {
                "issuer": ISSUER,
                "audiences": [AUDIENCE],
                "jwks": {"file": str(site.workload.jwks)},
                "tenant": TENANT,
            }
        ],
    }


def _seed(dsn: str) -> None:
    """A tenant, roles with rules and inheritance, a user for each token, one without a role."""
    names = [user_name(number) for number in range(TOKENS)]
    roles = [f"role-{number:02}" for number in range(ROLES)]
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO auth_tenant (slug) VALUES (%s)", [TENANT])
        cursor.executemany(
            "INSERT INTO auth_role (tenant, name) VALUES (%s, %s)",
            [(TENANT, role) for role in ["reader", *roles]],
        )
        cursor.executemany(
            "INSERT INTO auth_role_parent (tenant, role, parent) VALUES (%s, %s, 'reader')",
            [(TENANT, role) for role in roles],
        )
        cursor.executemany(
            "INSERT INTO auth_role_rule (tenant, role, effect, action)"
            " VALUES (%s, %s, 'allow', %s)",
            [(TENANT, "reader", action) for action in (PERMISSION, CREATE)]
            + [(TENANT, role, f"{role}:action-{n}") for role in roles for n in range(RULES)],
        )
        cursor.executemany(
            "INSERT INTO auth_user (tenant, subject) VALUES (%s, %s)",
            [(TENANT, name) for name in [*names, OUTSIDER]],
        )
        cursor.executemany(
            "INSERT INTO auth_role_grant (tenant, subject, role) VALUES (%s, %s, %s)",
            [(TENANT, name, roles[number % ROLES]) for number, name in enumerate(names)],
        )

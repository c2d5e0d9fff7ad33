"""Sidecar with everything on: embedded stores, users with roles, decisions written to a file."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import yaml

import sidecar
from perf.machine import free_port
from perf.peers.peer import Peer, running, wait_until_answers
from perf.workload import AUDIENCE, ISSUER, OUTSIDER, PATH, PERMISSION, TENANT, TOKENS, Workload
from perf.workload import subject as user_name
from sidecar.embedded import EmbeddedStack
from sidecar.store.migrate import migrate

NAME = "sidecar"

# Each user holds one of them and all inherit the one that matters here.
ROLES = 20
RULES = 20


@contextmanager
def started(folder: Path, upstream: int, workload: Workload) -> Iterator[Peer]:
    """Sidecar before the upstream on this port."""
    # PostgreSQL may have to run as somebody else, who must reach its folder.
    folder.chmod(0o711)
    port, admin, log = free_port(), free_port(), folder / "sidecar.out"
    with EmbeddedStack(folder / "stores", durable=False) as stores:
        asyncio.run(migrate(stores.database_url))
        _seed(stores.database_url)
        settings = folder / "sidecar.yaml"
        settings.write_text(_configuration(folder, stores, workload, (port, admin, upstream)))
        command = [sys.executable, "-m", "sidecar", "run", "--config", str(settings)]
        with running(command, log) as child:
            wait_until_answers(child, admin, "/readyz", log)
            yield Peer(NAME, sidecar.__version__, port, child.pid, guards=True)


def _configuration(
    folder: Path, stores: EmbeddedStack, workload: Workload, ports: tuple[int, int, int]
) -> str:
    listen, admin, upstream = ports
    return yaml.safe_dump(
        {
            "listen": {"address": f"127.0.0.1:{listen}"},
            "admin": {"address": f"127.0.0.1:{admin}"},
            "upstreams": {"app": {"url": f"http://127.0.0.1:{upstream}"}},
            "stores": {
                "postgres": {"dsn": stores.database_url},
                "redis": {"url": stores.redis_url},
            },
            "credentials": {
                "token_key": "not a secret: it is for a benchmark",
                "issuers": [
                    {
                        "issuer": ISSUER,
                        "audiences": [AUDIENCE],
                        "jwks": {"file": str(workload.jwks)},
                        "tenant": TENANT,
                    }
                ],
            },
            "routes": [
                {"path": "/healthz", "access": "public"},
                {"path": PATH, "methods": ["GET"], "permission": PERMISSION},
                {"path": PATH, "methods": ["POST"], "permission": "orders:create"},
                {
                    "path": PATH + "/{order_id}",
                    "permission": PERMISSION,
                    "resource": "orders/{order_id}",
                },
            ],
            "audit": {"sink": f"file:{folder}/audit.jsonl"},
        }
    )


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
            [(TENANT, "reader", PERMISSION)]
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

"""Stores with users, and sidecars with this or that configuration before one upstream."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg

import sidecar
from perf.footprint.stores import KEY, token
from perf.machine import free_port
from perf.peers.peer import Guard, Peer, running, wait_until_answers
from perf.workload import AUDIENCE, ISSUER, PATH, PERMISSION, TENANT, TOKENS, subject
from sidecar.authenticate.opaque import digest
from sidecar.embedded import EmbeddedStack
from sidecar.store.migrate import migrate

CREATE = "orders:create"
ROUTES: Sequence[Mapping[str, object]] = (
    {"path": PATH, "methods": ["GET"], "permission": PERMISSION},
    {"path": PATH, "methods": ["POST"], "permission": CREATE},
)


@dataclass(frozen=True, slots=True)
class Plane:
    """What sidecars share.

    Attributes:
        folder: theirs.
        upstream: port of the application.
        jwks: keys of the issuer.
    """

    folder: Path
    stores: EmbeddedStack
    upstream: int
    jwks: Path

    def before(self, upstream: int) -> "Plane":
        """The same before another application."""
        return replace(self, upstream=upstream)

    @contextmanager
    def sidecar(
        self,
        name: str,
        routes: Sequence[Mapping[str, object]] = ROUTES,
        **sections: Mapping[str, object],
    ) -> Iterator[Peer]:
        """A sidecar with everything on, and more in its sections."""
        folder = self.folder / name
        folder.mkdir(mode=0o711)
        port, admin, log = free_port(), free_port(), folder / "sidecar.out"
        listen = {"address": f"127.0.0.1:{port}", **sections.pop("listen", {})}
        settings = folder / "sidecar.yaml"
        settings.write_text(
            json.dumps(
                {
                    "listen": listen,
                    "admin": {"address": f"127.0.0.1:{admin}"},
                    "upstreams": {"app": {"url": f"http://127.0.0.1:{self.upstream}"}},
                    "stores": {
                        "postgres": {"dsn": self.stores.database_url},
                        "redis": {"url": self.stores.redis_url},
                        # Users with very many grants take long to load; once.
                        "load_seconds": 1.4,
                    },
                    "audit": {"sink": f"file:{folder}/audit.jsonl"},
                    "credentials": {"token_key": KEY, "issuers": [self._issuer()]},
                    "routes": list(routes),
                    **sections,
                }
            )
        )
        command = [sys.executable, "-m", "sidecar", "run", "--config", str(settings)]
        with running(command, log) as child:
            wait_until_answers(child, admin, "/readyz", log)
            yield Peer(name, sidecar.__version__, port, child.pid, Guard.AUTHORIZES)

    def _issuer(self) -> dict[str, object]:
        return {
            "issuer": ISSUER,
            "audiences": [AUDIENCE],
            "jwks": {"file": str(self.jwks)},
            "algorithms": ["RS256", "Ed25519"],
            "tenant": TENANT,
        }


@contextmanager
def plane(folder: Path, upstream: int, jwks: Path) -> Iterator[Plane]:
    """Stores that know the users of the workload, who may read and create."""
    # PostgreSQL may have to run as somebody else, who must reach its folder.
    folder.mkdir(mode=0o711)
    with EmbeddedStack(folder / "stores", durable=False) as stores:
        asyncio.run(migrate(stores.database_url))
        with psycopg.connect(stores.database_url) as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO auth_tenant (slug) VALUES (%s)", [TENANT])
            cursor.execute("INSERT INTO auth_role (tenant, name) VALUES (%s, 'reader')", [TENANT])
            cursor.executemany(
                "INSERT INTO auth_role_rule (tenant, role, effect, action)"
                " VALUES (%s, 'reader', 'allow', %s)",
                [(TENANT, action) for action in (PERMISSION, CREATE)],
            )
            names = [subject(number) for number in range(TOKENS)]
            _copy(cursor, "auth_user (tenant, subject)", [(TENANT, name) for name in names])
            _copy(
                cursor,
                "auth_role_grant (tenant, subject, role)",
                [(TENANT, name, "reader") for name in names],
            )
        yield Plane(folder, stores, upstream, jwks)


def add_user(dsn: str, name: str, number: int, resources: Sequence[str]) -> str:
    """A user who may read exactly these; the token of a session."""
    until = datetime.fromtimestamp(time.time() + 86_400, UTC)
    made = token(number)
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        _copy(cursor, "auth_user (tenant, subject)", [(TENANT, name)])
        _copy(
            cursor,
            "auth_rule_grant (tenant, subject, effect, action, resource)",
            [(TENANT, name, "allow", PERMISSION, each) for each in resources],
        )
        _copy(
            cursor,
            "auth_session (digest, id, tenant, subject, expires_at)",
            [(digest(made), f"session-{name}", TENANT, name, until)],
        )
    return made


def _copy(
    cursor: psycopg.Cursor[tuple[object, ...]], into: str, rows: Sequence[tuple[object, ...]]
) -> None:
    with cursor.copy(f"COPY {into} FROM STDIN".encode()) as copy:
        for row in rows:
            copy.write_row(row)

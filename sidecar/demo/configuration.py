"""The configuration of the sidecar before the demo application."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

# Files beside the configuration that hold its secrets.
DATABASE_FILE: Final = "database.url"
REDIS_FILE: Final = "redis.url"
KEY_FILE: Final = "token.key"

_ROUTES: Final[tuple[dict[str, Any], ...]] = (
    {"path": "/healthz", "methods": ["GET"], "access": "public"},
    {"path": "/", "methods": ["GET"], "access": "authenticated"},
    {"path": "/api/orders", "methods": ["GET"], "permission": "orders:read"},
    {"path": "/api/orders", "methods": ["POST"], "permission": "orders:create"},
    {
        "path": "/api/orders/{order_id}",
        "methods": ["GET"],
        "permission": "orders:read",
        "resource": "orders/{order_id}",
    },
    {
        "path": "/api/orders/{order_id}",
        "methods": ["DELETE"],
        "permission": "orders:delete",
        "resource": "orders/{order_id}",
    },
    {"path": "/events", "methods": ["GET"], "permission": "orders:read"},
    {"path": "/upload", "methods": ["POST"], "access": "authenticated"},
    {"path": "/download", "methods": ["GET"], "access": "authenticated"},
    {"path": "/echo", "methods": ["GET"], "access": "authenticated"},
)


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are.

    Attributes:
        listen: ``host:port`` for clients.
        admin: ``host:port`` of the admin listener.
        upstream: URL of the demo application.
        audit: file for decisions; absolute.
    """

    listen: str
    admin: str
    upstream: str
    audit: Path


def configuration(places: Places) -> str:
    """The file's text; secrets are references to the files beside it."""
    content = {
        "version": 1,
        # Ctrl-C should not take half a minute because of an open event stream.
        "listen": {"address": places.listen, "deadlines": {"drain_seconds": 3}},
        "admin": {"address": places.admin},
        "upstreams": {"app": {"url": places.upstream}},
        "stores": {
            "postgres": {"dsn": f"${{file:{DATABASE_FILE}}}"},
            "redis": {"url": f"${{file:{REDIS_FILE}}}"},
        },
        # A session is accepted as a bearer token and, for browsers, as a cookie.
        "credentials": {
            "token_key": f"${{file:{KEY_FILE}}}",
            "session": {"cookie": "sidecar_session", "bearer": True},
        },
        "routes": list(_ROUTES),
        "audit": {"sink": f"file:{places.audit}"},
    }
    first = "# Written by `sidecar up` at each start: change a copy.\n"
    return first + yaml.safe_dump(content, sort_keys=False)

"""The service that proxies ask where they cannot decide: an nginx that answers always the same.

It refuses a request without a credential, so that a probe can tell whether the proxy asks and
obeys; into the credential it does not look. Nothing real answers for less.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perf.machine import free_port
from perf.peers import nginx
from perf.peers.peer import Service

_SERVER = """\
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    access_log off;
    if ($http_authorization = "") {{ return 401; }}
    return 200;
  }}
"""

_KEYS = """\
  server {{
    listen 127.0.0.1:{port};
    location = {path} {{ alias {jwks}; default_type application/json; }}
  }}
"""


@contextmanager
def started(folder: Path, *, counted: bool) -> Iterator[tuple[int, Service]]:
    """The service; yields its port and how to count it."""
    port = free_port()
    with nginx.served(folder, _SERVER.format(port=port), port, logged=False) as pid:
        yield port, Service(f"static answer, nginx {nginx.version()}", pid, counted)


@contextmanager
def keys(folder: Path, jwks: Path) -> Iterator[str]:
    """An issuer's keys over HTTP, for who cannot read them from a file; yields the URL."""
    port, path = free_port(), "/jwks.json"
    section = _KEYS.format(port=port, path=path, jwks=jwks)
    with nginx.served(folder, section, port, path=path, logged=False):
        yield f"http://127.0.0.1:{port}{path}"

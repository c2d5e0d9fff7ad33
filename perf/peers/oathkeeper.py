"""Ory Oathkeeper as a reverse proxy: its `jwt` authenticator, and an authorizer that allows.

It authenticates: tokens carry nothing that its own authorizers could decide on. Its log says
errors only, as it cannot buffer one. Connections to the upstream are as it ships them: two stay
open, the others are made anew.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from perf.machine import free_port
from perf.peers import fetched
from perf.peers.peer import Guard, Peer, Site, running, wait_until_answers
from perf.workload import AUDIENCE, HOST, ISSUER, PATH

NAME = "oathkeeper"


@contextmanager
def started(site: Site) -> Iterator[Peer]:
    """Oathkeeper before the upstream."""
    binary, version = fetched.program(NAME)
    folder, port = site.folder / NAME, free_port()
    folder.mkdir()
    settings, rules, log = (folder / name for name in ("settings.json", "rules.json", "out"))
    rules.write_text(json.dumps([_rule(site.upstream)]))
    settings.write_text(json.dumps(_settings(site, port, str(rules))))
    with running([str(binary), "serve", "--config", str(settings)], log) as child:
        wait_until_answers(child, port, PATH, log)
        yield Peer(NAME, version.lstrip("v"), port, child.pid, Guard.AUTHENTICATES)


def _rule(upstream: int) -> dict[str, object]:
    return {
        "id": "orders",
        "match": {"url": f"http://{HOST}/<.*>", "methods": ["GET"]},
        "upstream": {"url": f"http://127.0.0.1:{upstream}", "preserve_host": True},
        "authenticators": [{"handler": "jwt"}],
        "authorizer": {"handler": "allow"},
        "mutators": [{"handler": "noop"}],
        "errors": [{"handler": "json"}],
    }


def _settings(site: Site, port: int, rules: str) -> dict[str, object]:
    jwt = {
        "jwks_urls": [site.workload.jwks.as_uri()],
        "trusted_issuers": [ISSUER],
        "target_audience": [AUDIENCE],
        "allowed_algorithms": ["RS256"],
        "scope_strategy": "none",
    }
    local = {"host": "127.0.0.1"}
    return {
        "log": {"level": "error"},
        "serve": {
            "proxy": {**local, "port": port},
            "api": {**local, "port": free_port()},
            "prometheus": {**local, "port": free_port()},
        },
        "access_rules": {"repositories": [f"file://{rules}"]},
        "authenticators": {"jwt": {"enabled": True, "config": jwt}},
        "authorizers": {"allow": {"enabled": True}},
        "mutators": {"noop": {"enabled": True}},
        "errors": {"fallback": ["json"], "handlers": {"json": {"enabled": True}}},
    }

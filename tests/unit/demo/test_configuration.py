"""The configuration that `sidecar up` writes is one the sidecar takes."""

from pathlib import Path

import pytest

from sidecar.demo.configuration import DATABASE_FILE, KEY_FILE, REDIS_FILE, Places, configuration
from sidecar.settings.load import parse
from sidecar.settings.schema import Root

PLACES = Places(
    listen="127.0.0.1:8080",
    admin="127.0.0.1:8081",
    upstream="http://127.0.0.1:8082",
    audit=Path("/somewhere/audit.jsonl"),
)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    (tmp_path / DATABASE_FILE).write_text("postgresql://u:p@127.0.0.1/d")
    (tmp_path / REDIS_FILE).write_text("redis://:p@127.0.0.1:6379/0")
    (tmp_path / KEY_FILE).write_text("k" * 64)
    return parse(configuration(PLACES), environ={}, base=tmp_path)


def test_secrets_come_from_files_beside_it(root: Root) -> None:
    assert root.credentials.token_key == "k" * 64
    assert root.stores.postgres.dsn == "postgresql://u:p@127.0.0.1/d"
    assert root.stores.redis is not None
    assert root.stores.redis.url == "redis://:p@127.0.0.1:6379/0"
    assert "p@" not in configuration(PLACES)


def test_addresses_are_those_given(root: Root) -> None:
    assert root.listen.address == PLACES.listen
    assert root.admin.address == PLACES.admin
    assert root.upstreams["app"].url == PLACES.upstream
    assert root.audit.sink == "file:/somewhere/audit.jsonl"


def test_browsers_may_use_a_cookie(root: Root) -> None:
    assert root.credentials.session is not None
    assert root.credentials.session.cookie == "sidecar_session"
    assert root.credentials.session.bearer


@pytest.mark.parametrize(
    ("method", "path", "asked"),
    [
        ("GET", "/healthz", "public"),
        ("GET", "/", "authenticated"),
        ("GET", "/api/orders", "orders:read"),
        ("POST", "/api/orders", "orders:create"),
        ("GET", "/api/orders/{order_id}", "orders:read"),
        ("DELETE", "/api/orders/{order_id}", "orders:delete"),
        ("GET", "/events", "orders:read"),
        ("POST", "/upload", "authenticated"),
        ("GET", "/download", "authenticated"),
        ("GET", "/echo", "authenticated"),
    ],
)
def test_each_route_asks_what_it_should(root: Root, method: str, path: str, asked: str) -> None:
    (rule,) = (rule for rule in root.routes if rule.path == path and method in rule.methods)
    assert (rule.permission or rule.access) == asked


def test_only_health_is_public(root: Root) -> None:
    assert [rule.path for rule in root.routes if rule.access == "public"] == ["/healthz"]

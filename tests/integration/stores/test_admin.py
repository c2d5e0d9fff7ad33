"""`sidecar migrate` and `sidecar admin` as people and scripts use them."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

from sidecar.authenticate.opaque import check, digest, signing_key
from sidecar.cli.admin import admin
from sidecar.cli.migrate import migrate
from sidecar.embedded import EmbeddedStack
from sidecar.model.facts import Session
from sidecar.model.need import SessionNeed
from sidecar.model.shard import shard_of
from sidecar.settings.schema import Postgres
from sidecar.store.facts import FactStore
from sidecar.store.pool import Pool
from sidecar.sync.keyspace import Keyspace, decode_news

KEY = "k" * 32
Run = Callable[..., Result]


@pytest.fixture
def environment(
    database: str, stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    values = {
        "DATABASE_URL": database,
        "REDIS_URL": stack.redis_url,
        "SIDECAR_TOKEN_KEY": KEY,
        "NO_COLOR": "1",
    }
    for name in ("SIDECAR_TENANT", "SIDECAR_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    assert environment

    def command(*words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(admin, list(words))
        assert result.exit_code == code, result.output
        return result

    return command


@pytest.fixture
def acme(run: Run) -> Run:
    run("tenant", "create", "acme", "--name", "Acme")
    run("user", "create", "alice", "--name", "Alice")
    run("role", "create", "reader")
    run("role", "create", "editor")
    return run


def as_json(result: Result) -> Any:
    return json.loads(result.stdout)


def test_a_tour(acme: Run) -> None:
    acme("role", "permit", "reader", "orders:read")
    acme("role", "deny", "reader", "orders:delete", "--on", "orders/1")
    acme("role", "inherit", "editor", "reader")
    acme("user", "assign", "alice", "editor", "--on", "orders/*", "--for", "8h")
    acme("grant", "permit", "alice", "reports:read", "--for", "7d")
    acme("grant", "deny", "alice", "orders:delete")
    shown = as_json(acme("user", "show", "alice", "--json"))
    assert shown["status"] == "active"
    assert [(role["role"], role["resource"]) for role in shown["roles"]] == [("editor", "orders/*")]
    assert [(rule["effect"], rule["action"]) for rule in shown["rules"]] == [
        ("allow", "reports:read"),
        ("deny", "orders:delete"),
    ]
    text = acme("user", "show", "alice").stdout
    assert "alice of tenant acme: active" in text
    assert "reports:read" in text
    assert "editor  reader" in acme("role", "list").stdout
    assert as_json(acme("role", "show", "reader", "--json"))["rules"] == [
        {"effect": "allow", "action": "orders:read", "resource": "*"},
        {"effect": "deny", "action": "orders:delete", "resource": "orders/1"},
    ]
    assert "inherits" in acme("role", "show", "editor").stdout
    assert len(as_json(acme("role", "list", "--json"))) == 2
    assert set(as_json(acme("grant", "list", "alice", "--json"))) == {"roles", "rules"}
    acme("grant", "revoke", "alice", "orders:delete", "--deny")
    acme("grant", "revoke", "alice", "reports:read")
    acme("user", "unassign", "alice", "editor", "--on", "orders/*")
    acme("role", "remove", "reader", "orders:delete", "--on", "orders/1", "--deny")
    acme("role", "disinherit", "editor", "reader")
    acme("role", "delete", "editor")
    assert acme("grant", "list", "alice").stdout.splitlines() == ["GRANT  WHAT  RESOURCE  EXPIRES"]


def test_disabling_and_deleting(acme: Run) -> None:
    assert "user alice of tenant acme is disabled" in acme("user", "disable", "alice").stdout
    assert "disabled" in acme("user", "list").stdout
    assert "nothing had to be changed" in acme("user", "disable", "alice").stderr
    acme("user", "enable", "alice")
    acme("tenant", "disable", "acme")
    assert as_json(acme("user", "show", "alice", "--json"))["status"] == "disabled"
    acme("tenant", "enable", "acme")
    assert as_json(acme("tenant", "list", "--json"))[0]["status"] == "active"
    acme("user", "delete", "alice")
    assert as_json(acme("user", "list", "--json")) == []


def test_repeating_what_was_not_confirmed_does_not_confirm_it(acme: Run) -> None:
    """Nothing has to be changed the second time, and still nobody knows of the first."""
    wanting = ("--ack", "applied", "--ack-seconds", "0.1")
    for _ in range(2):
        told = acme("user", "disable", "alice", *wanting, code=3).stderr
        assert "not known to be in effect everywhere" in told


def test_sessions(acme: Run, database: str) -> None:
    created = acme("session", "create", "--user", "alice", "--lifetime", "12h")
    token = created.stdout.strip()
    assert check(token, signing_key(KEY)) == shard_of("acme")
    assert "session " in created.stderr
    assert token not in created.stderr
    issued = as_json(acme("session", "create", "--user", "alice", "--json"))
    assert issued["subject"] == "alice"
    rows = as_json(acme("session", "list", "--json"))
    assert [row["state"] for row in rows] == ["active", "active"]
    revoked = as_json(acme("session", "revoke", issued["id"], "--json"))
    assert (revoked["revoked"], revoked["level"], revoked["why"]) == (1, "published", "")
    assert "revoked 1 session(s) of alice" in acme("session", "revoke", "--user", "alice").stdout
    assert acme("session", "list", "--user", "alice").stdout.count("revoked") == 2
    acme("session", "create", "--user", "alice", "--lifetime", "1s")

    async def read() -> object:
        async with Pool(Postgres(dsn=database)) as pool:
            return await FactStore(pool).read(SessionNeed(digest(token), shard_of("acme")))

    found = asyncio.run(read())
    assert isinstance(found, Session)
    assert found.revoked_at is not None


@pytest.fixture
def heard(stack: EmbeddedStack) -> Iterator[Callable[[], list[str]]]:
    """Which subjects were announced in acme's shard."""
    client = redis.Redis.from_url(stack.redis_url)
    subscription = client.pubsub()  # type: ignore[no-untyped-call]  # redis-py gives no types
    subscription.subscribe(Keyspace("sc").channels[shard_of("acme")])
    subscription.get_message(timeout=5)

    def read() -> list[str]:
        subjects = []
        while message := subscription.get_message(timeout=0.05):
            news = decode_news(message["data"])
            assert news is not None
            subjects.append(news.subject)
        return subjects

    yield read
    subscription.close()
    client.close()


def test_changes_are_published(acme: Run, heard: Callable[[], list[str]]) -> None:
    heard()
    result = acme("user", "disable", "alice")
    assert heard() == ["alice"]
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://127.0.0.1:1/0", "Redis cannot be reached"),
        ("", "no REDIS_URL"),
    ],
)
def test_without_redis_it_is_committed_and_says_when_it_takes_effect(
    acme: Run, monkeypatch: pytest.MonkeyPatch, url: str, words: str
) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    issued = as_json(acme("session", "create", "--user", "alice", "--json"))
    for command in (
        ("user", "disable", "alice"),
        ("session", "revoke", issued["id"]),
    ):
        result = acme(*command)
        assert words in result.stderr
        assert "seconds" in result.stderr
    assert as_json(acme("user", "show", "alice", "--json"))["status"] == "disabled"


REFUSED = [
    (("user", "create", "alice"), 1, "exists already"),
    (("user", "show", "nobody"), 1, 'no user "nobody"'),
    (("user", "disable", "nobody"), 1, 'no user "nobody"'),
    (("grant", "list", "nobody"), 1, 'no user "nobody"'),
    (("role", "show", "nothing"), 1, 'no role "nothing"'),
    (("user", "assign", "alice", "nothing"), 1, "no such role"),
    (("role", "inherit", "reader", "reader"), 1, "cannot inherit itself"),
    (("tenant", "create", "A B"), 1, "a-z 0-9"),
    (("user", "list", "--tenant", "other"), 1, 'no tenant "other"'),
    (("session", "create", "--user", "nobody"), 1, 'no user "nobody"'),
    (("session", "revoke", "none"), 1, 'no session "none"'),
    (("session", "revoke"), 2, "--user"),
    (("session", "revoke", "x", "--user", "alice"), 2, "--user"),
    (("session", "create", "--user", "alice", "--lifetime", "soon"), 2, "not a duration"),
    (("user", "fly", "alice"), 2, "No such command"),
]


@pytest.mark.parametrize(("words", "code", "sentence"), REFUSED, ids=str)
def test_what_is_refused_is_said_in_a_sentence(
    acme: Run, words: tuple[str, ...], code: int, sentence: str
) -> None:
    result = acme(*words, code=code)
    assert sentence in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_the_tenant_that_is_meant(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no tenant yet" in run("user", "list", code=1).stderr
    for number in range(7):
        run("tenant", "create", f"t{number}")
    assert "t0, t1, t2, t3, t4, ..." in run("user", "list", code=1).stderr
    monkeypatch.setenv("SIDECAR_TENANT", "t3")
    assert as_json(run("user", "create", "bob", "--json"))["tenant"] == "t3"
    assert as_json(run("user", "list", "--tenant", "t4", "--json")) == []


def test_a_key_that_is_missing_is_named(acme: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIDECAR_TOKEN_KEY")
    assert "SIDECAR_TOKEN_KEY" in acme("session", "create", "--user", "alice", code=2).stderr


def test_no_database_is_its_own_exit_code(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.cli.admin_context._WAIT_SECONDS", 0.1)
    monkeypatch.setenv("DATABASE_URL", "host=127.0.0.1 port=1")
    assert "nothing is known to have changed" in run("tenant", "list", code=3).stderr
    monkeypatch.delenv("DATABASE_URL")
    assert "DATABASE_URL" in run("tenant", "list", code=2).stderr


def test_stores_named_by_a_configuration(
    acme: Run, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    file = tmp_path / "sidecar.yaml"
    file.write_text(
        "upstreams: {app: {url: 'http://127.0.0.1:1'}}\n"
        f"stores: {{postgres: {{dsn: '{environment['DATABASE_URL']}'}}}}\n"
        f"credentials: {{token_key: '{'c' * 32}'}}\n"
        "routes: [{path: /, access: public}]\n"
    )
    monkeypatch.delenv("DATABASE_URL")
    token = acme("session", "create", "--user", "alice", "-c", str(file)).stdout.strip()
    assert check(token, signing_key("c" * 32)) == shard_of("acme")
    file.write_text("routes: []\n")
    assert acme("user", "list", "-c", str(file), code=1).stdout == ""


def test_migrating(
    empty_database: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert environment
    monkeypatch.setenv("DATABASE_URL", empty_database)
    runner = CliRunner()
    status = runner.invoke(migrate, ["--status"])
    assert (status.exit_code, status.stdout.splitlines()[0]) == (1, "missing  0001_schema")
    applied = runner.invoke(migrate, [])
    assert (applied.exit_code, applied.stdout.splitlines()[0]) == (0, "applied 0001_schema")
    assert runner.invoke(migrate, []).stdout == "nothing to do\n"
    again = runner.invoke(migrate, ["--status", "--json"])
    assert again.exit_code == 0
    assert json.loads(again.stdout)["pending"] == []
    monkeypatch.setenv("DATABASE_URL", "host=127.0.0.1 port=1")
    assert runner.invoke(migrate, []).exit_code == 3


def test_as_a_process(acme: Run, environment: dict[str, str]) -> None:
    assert acme is not None
    command = [sys.executable, "-m", "sidecar", "admin", "user", "list", "--json"]
    outcome = subprocess.run(
        command, capture_output=True, check=False, env={**os.environ, **environment}
    )
    assert outcome.returncode == 0, outcome.stderr
    assert [row["subject"] for row in json.loads(outcome.stdout)] == ["alice"]
    assert outcome.stderr == b""

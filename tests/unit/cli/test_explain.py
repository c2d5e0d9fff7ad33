import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from sidecar.cli.console import Code
from sidecar.cli.explain import exit_code, explain, raw_head, read_head
from sidecar.model.errors import StoresUnavailable
from sidecar.model.explanation import (
    AskedMessage,
    CallStep,
    Explanation,
    MessageExplanation,
)
from sidecar.model.head import RequestHead
from sidecar.model.reason import Reason
from sidecar.settings.load import load
from sidecar.settings.schema import Root
from tests.unit.cli.explanations import PERMIT, REFUSAL

TOKEN = "scs1_a0123_b"


class Asked:
    """A decider that knows its answer and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: Explanation | Exception = PERMIT
        self.heads: list[RequestHead] = []
        self.messages: list[AskedMessage | None] = []

    async def explain(self, head: RequestHead, message: AskedMessage | None) -> Explanation:
        self.heads.append(head)
        self.messages.append(message)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    @asynccontextmanager
    async def open_decider(self, root: Root) -> AsyncIterator["Asked"]:
        assert root.routes
        yield self


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    decider = Asked()
    stand_in = ModuleType("sidecar.assembly")
    monkeypatch.setattr(stand_in, "open_decider", decider.open_decider, raising=False)
    monkeypatch.setitem(sys.modules, "sidecar.assembly", stand_in)
    return decider


def call(config: Path, *arguments: str, stdin: str = "", **environ: str) -> Result:
    arguments = ("--config", str(config), "--path", "/api/orders/17?a=b", *arguments)
    return CliRunner().invoke(explain, arguments, input=stdin, env=environ)


def test_a_permit_ends_with_0(config: Path, asked: Asked) -> None:
    result = call(config)
    assert result.exit_code == 0
    assert result.output.splitlines()[-1] == "permitted (granted): goes to app"
    (head,) = asked.heads
    assert (head.method, head.path, head.host) == ("GET", "/api/orders/17", "localhost")
    assert head.target == b"/api/orders/17?a=b"
    assert head.value(b"authorization") is None


def test_a_refusal_ends_with_1(config: Path, asked: Asked) -> None:
    asked.answer = REFUSAL
    result = call(config, "--method", "DELETE", "--host", "Api.Example.com:81")
    assert result.exit_code == 1
    assert "refused with 403 (not-granted)" in result.output
    (head,) = asked.heads
    assert (head.method, head.host) == ("DELETE", "api.example.com")


def test_json_is_for_programs(config: Path, asked: Asked) -> None:
    result = call(config, "--json")
    assert msgspec.json.decode(result.stdout)["permitted"] is True
    assert len(asked.heads) == 1


@pytest.mark.parametrize("reason", [Reason.STORES_UNAVAILABLE, Reason.KEYS_UNAVAILABLE])
def test_what_nobody_can_tell_ends_with_3(config: Path, asked: Asked, reason: Reason) -> None:
    asked.answer = replace(REFUSAL, reason=reason, status=503)
    assert call(config).exit_code == 3
    assert exit_code(asked.answer) is Code.UNAVAILABLE


def test_stores_that_cannot_be_reached_end_with_3(config: Path, asked: Asked) -> None:
    asked.answer = StoresUnavailable("no connection within 1 s")
    result = call(config)
    assert result.exit_code == 3
    assert result.stderr == (
        "error: no connection within 1 s\nhint: is the database of stores.postgres.dsn running?\n"
    )


def authorization(asked: Asked) -> bytes | None:
    return asked.heads[0].value(b"authorization")


def test_the_token_from_stdin(config: Path, asked: Asked) -> None:
    result = call(config, "--token", "-", stdin=f"{TOKEN}\n")
    assert authorization(asked) == f"Bearer {TOKEN}".encode()
    assert result.stderr == ""


def test_the_token_from_the_environment(config: Path, asked: Asked) -> None:
    result = call(config, SIDECAR_TOKEN=TOKEN)
    assert authorization(asked) == f"Bearer {TOKEN}".encode()
    assert result.stderr == ""


def test_the_token_as_argument_works_with_a_note(config: Path, asked: Asked) -> None:
    result = call(config, "--token", TOKEN, SIDECAR_TOKEN="another")
    assert authorization(asked) == f"Bearer {TOKEN}".encode()
    assert result.stderr.startswith("note: other users can see the token")
    assert TOKEN not in result.output


def test_a_session_is_a_cookie_where_it_is_no_bearer_token(config: Path, asked: Asked) -> None:
    config.write_text(
        config.read_text().replace("routes:", "  session: {bearer: false, cookie: c}\nroutes:")
    )
    call(config, SIDECAR_TOKEN=TOKEN)
    assert authorization(asked) is None
    assert asked.heads[0].value(b"cookie") == f"c={TOKEN}".encode()


def test_what_the_parser_refuses_is_told_without_the_stores(config: Path, asked: Asked) -> None:
    result = CliRunner().invoke(explain, ["-c", str(config), "--path", "/a%00b"])
    assert result.exit_code == 1
    assert "request  GET /a%00b at localhost" in result.output
    assert "refused with 400 (malformed-target)" in result.output
    assert not asked.heads


@pytest.mark.parametrize("option", ["method", "path", "host", "token"])
def test_a_line_break_is_wrong_usage(config: Path, asked: Asked, option: str) -> None:
    """It would end the line, and another request would be explained than the one asked about."""
    result = call(config, f"--{option}", "/a\r\nb")
    assert result.exit_code == 2
    assert f"--{option}: has control characters in it." in result.output
    assert not asked.heads


def test_the_head_is_what_a_client_would_send(config: Path) -> None:
    root = load(config, environ={"DSN": "postgresql://", "KEY": "k" * 32})
    assert raw_head(root, "PUT", "/é", "h", "") == "PUT /é HTTP/1.1\r\nHost: h\r\n\r\n".encode()
    with pytest.raises(click.BadParameter):
        raw_head(root, "PUT", "/\x7f", "h", "")


def test_a_handshake_names_its_page(config: Path) -> None:
    root = load(config, environ={"DSN": "postgresql://", "KEY": "k" * 32})
    raw = raw_head(root, "GET", "/ws", "h", "", websocket=True, origin="https://page.example")
    assert raw.endswith(b"==\r\nOrigin: https://page.example\r\n\r\n")
    head = read_head(root, raw)
    assert isinstance(head, RequestHead)
    assert head.upgrade is not None
    with pytest.raises(click.BadParameter):
        raw_head(root, "GET", "/ws", "h", "", websocket=True, origin="x\r\nCookie: y")


def test_a_broken_configuration_is_told(config: Path, asked: Asked) -> None:
    config.write_text("a: b")
    result = call(config)
    assert result.exit_code == 1
    assert f"{config}:1:1: a: unknown key" in result.stderr
    assert not asked.heads


PASSES = MessageExplanation(passes=True, calls=(CallStep(type="ping", rule=0, access="route"),))
WITHHELD = MessageExplanation(passes=False, label="unknown-type", calls=(CallStep(type="x"),))


def test_a_message_is_asked_about(config: Path, asked: Asked, tmp_path: Path) -> None:
    file = tmp_path / "message"
    file.write_bytes(b"\xff")
    asked.answer = replace(PERMIT, message=PASSES)
    result = call(config, "--message", str(file), "--binary", "--from-server")
    assert result.exit_code == 0
    assert result.output.endswith("message  ping\n         rules[0]: access route\npasses\n")
    assert asked.messages == [AskedMessage(b"\xff", is_text=False, from_server=True)]


def test_a_message_that_is_refused_ends_with_1(config: Path, asked: Asked) -> None:
    asked.answer = replace(PERMIT, message=WITHHELD)
    result = call(config, "--message", "-", stdin="{}")
    assert result.exit_code == 1
    assert result.output.endswith(
        "message  x\n         no rule speaks of it\nrefused (unknown-type)\n"
    )
    assert asked.messages == [AskedMessage(b"{}")]


def test_without_a_message_none_is_asked_about(config: Path, asked: Asked) -> None:
    assert call(config).exit_code == 0
    assert asked.messages == [None]


def test_stdin_holds_one_thing(config: Path, asked: Asked) -> None:
    result = call(config, "--message", "-", "--token", "-", stdin="x")
    assert result.exit_code == 2
    assert "stdin holds the token already" in result.output
    assert asked.heads == []


def test_a_message_that_cannot_be_read(config: Path, asked: Asked, tmp_path: Path) -> None:
    result = call(config, "--message", str(tmp_path / "none"))
    assert result.exit_code == 2
    assert "No such file or directory." in result.output
    assert asked.heads == []

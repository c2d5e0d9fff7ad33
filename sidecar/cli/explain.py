"""``sidecar explain``."""

import asyncio
import os
import sys
from pathlib import Path

import click

from sidecar.cli.checking import load_or_fail
from sidecar.cli.console import Code, emit, fail, note
from sidecar.cli.explanation_text import explanation_text, explanation_value
from sidecar.model.decision import Denial
from sidecar.model.errors import StoresUnavailable
from sidecar.model.explanation import AskedMessage, Explanation
from sidecar.model.head import RequestHead
from sidecar.model.reason import Reason
from sidecar.settings.schema import Root

TOKEN_VARIABLE = "SIDECAR_TOKEN"  # noqa: S105 - the name of a variable
# A token of more than this fits in no head.
_MAX_TOKEN_BYTES = 65_536
# More than any route reads (routes[].websocket.read_bytes).
_MAX_MESSAGE_BYTES = 16_777_216
_UNKNOWN = frozenset({Reason.STORES_UNAVAILABLE, Reason.KEYS_UNAVAILABLE})

# The key is of no interest: nobody answers.
_HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)


@click.command
@click.option(
    "-c", "--config", type=click.Path(path_type=Path), required=True, envvar="SIDECAR_CONFIG",
    show_envvar=True, help="The configuration file.",
)  # fmt: skip
@click.option("--method", default="GET", show_default=True, help="Of the request.")
@click.option("--path", "target", required=True, help="Path, and query if there is one.")
@click.option("--host", default="localhost", show_default=True, help="Host as the client names it.")
@click.option(
    "--token", metavar="TOKEN",
    help=f"Session token or JWT; `-` reads it from stdin, and without it {TOKEN_VARIABLE} is "
    "used. Both keep it out of the list of processes.",
)  # fmt: skip
@click.option("--websocket", is_flag=True, help="The request is a WebSocket handshake.")
@click.option("--origin", metavar="ORIGIN", help="Of the page that opens the WebSocket.")
@click.option(
    "--message", "message_file", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True),
    help="On a WebSocket of that route: the message in FILE, also; `-` reads it from stdin.",
)  # fmt: skip
@click.option("--binary", is_flag=True, help="The message is binary.")
@click.option("--from-server", is_flag=True, help="The application sends the message.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def explain(
    *,
    config: Path,
    method: str,
    target: str,
    host: str,
    token: str | None,
    websocket: bool,
    origin: str | None,
    message_file: Path | None,
    binary: bool,
    from_server: bool,
    as_json: bool,
) -> None:
    """Say why a request would be permitted or refused.

    It is decided as the sidecar would, with the same configuration and stores, but nothing is
    forwarded: which route, what it asks for, who is asking, which rule decided and through which
    roles, and where each fact came from. With --message also: what the route's message rules make
    of a message on the connection that the request opens.

    \b
    Examples:
      sidecar explain -c sidecar.yaml --path /api/orders/17 --token - < token.txt
      SIDECAR_TOKEN=scs1_... sidecar explain -c sidecar.yaml --method DELETE --path /api/orders/17
      sidecar explain -c sidecar.yaml --path / --json | jq .reason
      sidecar explain -c sidecar.yaml --path /ws --websocket --origin https://app.example
      echo '{"type": "order.read"}' | sidecar explain -c sidecar.yaml --path /ws --message -

    Exit code: 0 permitted, 1 refused (the request, or the message), 3 the stores are not available.
    """  # noqa: D301 - click's mark for lines that stay as they are
    root = load_or_fail(config, load_hooks=message_file is not None)
    message = None
    if message_file is not None:
        payload = read_message(message_file, token)
        message = AskedMessage(payload, is_text=not binary, from_server=from_server)
    raw = raw_head(
        root,
        method,
        target,
        host,
        read_token(token),
        origin=origin,
        websocket=websocket or origin is not None,
    )
    head = read_head(root, raw)
    if isinstance(head, Denial):
        explanation = refused_as_read(head, method, target, host)
    else:
        explanation = asyncio.run(_ask(root, head, message))
    emit(explanation_value(explanation), explanation_text(explanation), as_json=as_json)
    raise SystemExit(int(exit_code(explanation)))


def read_token(given: str | None) -> str:
    """The token: as given, from stdin for ``-``, else from the environment; ``""`` for none."""
    if given is None:
        return os.environ.get(TOKEN_VARIABLE, "").strip()
    if given == "-":
        return sys.stdin.read(_MAX_TOKEN_BYTES).strip()
    note(
        f"other users can see the token in the list of processes; use --token - or {TOKEN_VARIABLE}"
    )
    return given


def read_message(file: Path, token: str | None) -> bytes:
    """The message in `file`, or on stdin for ``-``.

    Args:
        file: where it is.
        token: as given on the command line; it may take stdin for itself.

    Raises:
        click.BadParameter: it cannot be read.
    """
    if str(file) == "-":
        if token == "-":  # noqa: S105 - the name of stdin
            raise click.BadParameter("stdin holds the token already.", param_hint="--message")
        return sys.stdin.buffer.read(_MAX_MESSAGE_BYTES)
    try:
        with file.open("rb") as opened:
            return opened.read(_MAX_MESSAGE_BYTES)
    except OSError as error:
        raise click.BadParameter(f"{error.strerror}.", param_hint="--message") from None


def raw_head(
    root: Root,
    method: str,
    target: str,
    host: str,
    token: str,
    *,
    websocket: bool = False,
    origin: str | None = None,
) -> bytes:
    """The request as a client would send it.

    The token goes into the session's cookie where sessions are not accepted as bearer tokens.

    Raises:
        click.BadParameter: a part could end its line, so that this would be another request.
    """
    given = {"path": target, "method": method, "host": host, "token": token, "origin": origin or ""}
    for option, value in given.items():
        if any(character < " " or character == "\x7f" for character in value):
            raise click.BadParameter("has control characters in it.", param_hint=f"--{option}")
    session = root.credentials.session
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    if token.startswith("scs1_") and session is not None and not session.bearer:
        lines.append(f"Cookie: {session.cookie}={token}")
    elif token:
        lines.append(f"Authorization: Bearer {token}")
    if websocket:
        lines += _HANDSHAKE
    if origin is not None:
        lines.append(f"Origin: {origin}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


def read_head(root: Root, raw: bytes) -> RequestHead | Denial:
    """What the sidecar's parser makes of `raw`, within the configured limits."""
    # Brings llhttp; `--help` does not need it.
    from sidecar.parse.request import RequestReader  # noqa: PLC0415

    limits = root.listen.limits
    return RequestReader(target_bytes=limits.target_bytes, most_fields=limits.fields).read(raw)


def refused_as_read(denial: Denial, method: str, target: str, host: str) -> Explanation:
    """A request that is refused before anybody asks for a route."""
    return Explanation(
        method=method,
        path=target,
        host=host,
        permitted=False,
        reason=denial.reason,
        status=denial.status,
        detail=denial.detail,
    )


async def _ask(root: Root, head: RequestHead, message: AskedMessage | None) -> Explanation:
    # The composition root brings every library.
    from sidecar.assembly import open_decider  # noqa: PLC0415

    try:
        async with open_decider(root) as decider:
            explanation: Explanation = await decider.explain(head, message)
            return explanation
    except StoresUnavailable as error:
        fail(str(error), "is the database of stores.postgres.dsn running?", Code.UNAVAILABLE)


def exit_code(explanation: Explanation) -> Code:
    """0 for a permit, 1 for a refusal, 3 where nobody could tell."""
    if explanation.permitted:
        message = explanation.message
        return Code.FINE if message is None or message.passes else Code.NO
    return Code.UNAVAILABLE if explanation.reason in _UNKNOWN else Code.NO

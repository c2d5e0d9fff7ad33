"""Checks of what may pass over WebSockets, and of how handshakes show a credential."""

import re
from typing import Final

from sidecar.settings.check_cors import check_origin
from sidecar.settings.checker import Checker
from sidecar.settings.problem import Path
from sidecar.settings.schema import Reauthentication, Root, RouteRule, WebSocketRule

# RFC 6901 section 3; of "~" only "~0" and "~1" mean something. The whole message is no member.
_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)+")
# Needs no percent-encoding in a query (RFC 3986 section 2.3).
_PARAMETER: Final = re.compile(r"[A-Za-z0-9._~-]{1,64}", re.ASCII)


def check_websocket(root: Root, checker: Checker) -> None:
    """Policies that could not work, or that would let anybody in."""
    _check_credential(root, checker)
    for index, rule in enumerate(root.routes):
        if rule.websocket is not None:
            _check_rule(rule, rule.websocket, ("routes", index), checker)


def _check_credential(root: Root, checker: Checker) -> None:
    shown = root.credentials.websocket
    names = {"query_parameter": shown.query_parameter, "ticket_parameter": shown.ticket_parameter}
    for key, name in names.items():
        if name is not None and _PARAMETER.fullmatch(name) is None:
            checker.wrong(
                ("credentials", "websocket", key), "must be letters, digits, `.`, `_`, `~` and `-`"
            )
    if shown.query_parameter == shown.ticket_parameter:
        checker.wrong(
            ("credentials", "websocket", "query_parameter"), "is the parameter of tickets already"
        )


def _check_rule(rule: RouteRule, websocket: WebSocketRule, path: Path, checker: Checker) -> None:
    if rule.methods and "GET" not in rule.methods:
        checker.remark((*path, "websocket"), "a handshake is a GET, which `methods` leaves out")
    for at, origin in enumerate(websocket.origins):
        where = (*path, "websocket", "origins", at)
        if origin != "*":
            check_origin(origin, where, checker)
        elif len(websocket.origins) > 1:
            checker.wrong(where, "means all of them: give it alone")
    if websocket.frame_bytes > websocket.message_bytes:
        checker.wrong(
            (*path, "websocket", "frame_bytes"),
            f"a frame is no larger than its message (message_bytes: {websocket.message_bytes})",
        )
    if websocket.reauthenticate is not None:
        _check_fresh(rule, websocket.reauthenticate, (*path, "websocket"), checker)


def _check_fresh(rule: RouteRule, fresh: Reauthentication, path: Path, checker: Checker) -> None:
    where = (*path, "reauthenticate")
    if rule.access == "public":
        checker.remark(where, "on a public route nobody is asked who they are")
    if rule.credential == "certificate":
        checker.remark(where, "a certificate is of the connection, no message can show another")
    for key in ("type_pointer", "token_pointer"):
        if _POINTER.fullmatch(getattr(fresh, key)) is None:
            checker.wrong((*where, key), "must be a JSON pointer such as /token (RFC 6901)")
    if fresh.type_pointer == fresh.token_pointer:
        checker.wrong((*where, "token_pointer"), "is the place of the type already")

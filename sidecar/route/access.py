"""What can be wrong with who may use a route, or send a message: the rules of both."""

import re
from collections.abc import Iterator
from typing import Final, Protocol

# One action, named in full: patterns (`orders:*`) are for grants. `sidecar.authorize.action` says
# the same for whoever asks.
_ACTION: Final = re.compile(r"[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+){0,7}")


class Asking(Protocol):
    """A rule that says who may, or names a permission (`RouteRule`, `MessageRule`)."""

    @property
    def access(self) -> str | None:
        """Who may, whatever they are permitted."""

    @property
    def permission(self) -> str | None:
        """The action asked."""

    @property
    def resource(self) -> str | None:
        """On what."""


def wrong_access(rule: Asking, choices: str) -> Iterator[tuple[str, str]]:
    """What is wrong with `rule`, as (key, message) for its author.

    Args:
        rule: the rule.
        choices: of `access`, as the message names them.
    """
    if rule.access is None and rule.permission is None:
        yield "access", f"say {choices}, or give a permission"
    if rule.access is not None and rule.permission is not None:
        yield "access", "a permission implies it: give one of the two"
    if rule.permission is not None and not _ACTION.fullmatch(rule.permission):
        yield "permission", f"'{rule.permission}' is not an action such as 'orders:read'"
    if rule.resource is not None and rule.permission is None:
        yield "resource", "without a permission nobody asks for it"

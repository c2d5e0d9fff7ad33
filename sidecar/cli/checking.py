"""All that can be said about a configuration before it is used; shared by several commands."""

import os
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import NoReturn

from sidecar.cli.console import Code, fail, say
from sidecar.settings.load import Examination, examine_file, settled
from sidecar.settings.problem import Path, SettingsError
from sidecar.settings.schema import Root, RouteRule


def examine_all(path: FilePath, *, load_hooks: bool = False) -> Examination:
    """Read the file at `path` and check everything in it, routes and message rules included.

    Args:
        path: the file.
        load_hooks: whether hooks are imported. A file that is only looked at must not run what it
            names.

    Raises:
        OSError: the file cannot be read.
    """
    examination = examine_file(path, environ=os.environ)
    check_routes(examination)
    check_messages(examination, load_hooks=load_hooks)
    return examination


def check_routes(examination: Examination) -> None:
    """Compile the routes and add what is wrong with them, at their places in the file."""
    root, positions, findings = examination.root, examination.positions, examination.findings
    if root is None:
        return
    # It takes time to import, and a text that is no YAML does not need it.
    from sidecar.route.rules import RouteProblem, RoutesError, compile_routes  # noqa: PLC0415

    def compile_some(rules: Sequence[RouteRule]) -> tuple[RouteProblem, ...]:
        try:
            compile_routes(rules, default_upstream=next(iter(root.upstreams), ""))
        except RoutesError as error:
            return error.problems
        return ()

    def note(index: int, field: str, message: str) -> None:
        path: Path = ("routes", index, field)
        message = positions.as_written(path[:2], message)
        findings.add(positions.locate(path), path, message)

    if findings.within(("routes",)):
        # Stand-ins for what is broken would collide: each sound route is judged alone.
        for index, rule in enumerate(root.routes):
            if not findings.within(("routes", index)):
                for problem in compile_some([rule]):
                    note(index, problem.field, problem.message)
        return
    for problem in compile_some(root.routes):
        note(problem.index, problem.field, problem.message)


def check_messages(examination: Examination, *, load_hooks: bool = False) -> None:
    """Compile the message rules and add what is wrong with them, at their places in the file."""
    root, positions, findings = examination.root, examination.positions, examination.findings
    ruled = [] if root is None else [
        (("routes", index, "websocket", "messages"), rule)
        for index, rule in enumerate(root.routes)
        if rule.websocket is not None and rule.websocket.messages is not None
    ]  # fmt: skip
    if not ruled:
        return
    from sidecar.relay.message.compilation import compile_messages  # noqa: PLC0415
    from sidecar.relay.message.problems import MessagesError  # noqa: PLC0415

    for place, rule in ruled:
        if findings.within(place):
            continue
        try:
            compile_messages(rule, load_hooks=load_hooks)
        except MessagesError as error:
            for problem in error.problems:
                path: Path = (*place, *problem.place)
                message = positions.as_written(path, problem.message)
                findings.add(positions.locate(path), path, message, problem.suggestion)


def load_or_fail(path: FilePath, *, load_hooks: bool = False) -> Root:
    """The settings at `path`; ends the command, all problems written, when they are not usable.

    Args:
        path: the file.
        load_hooks: as of `examine_all`.
    """
    try:
        return settled(examine_all(path, load_hooks=load_hooks))
    except SettingsError as error:
        for problem in error.problems:
            say(str(problem), error=True)
        fail(f"{path} is refused", "mend what is listed above; `sidecar check-config` looks again")
    except OSError as error:
        unreadable(path, error)


def unreadable(path: FilePath, error: OSError) -> NoReturn:
    """End the command because the file cannot be read."""
    fail(f"{path} cannot be read: {error.strerror}", code=Code.UNAVAILABLE)

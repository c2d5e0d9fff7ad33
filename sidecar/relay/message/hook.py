"""Hooks: functions of the operator's that read messages of other protocols."""

import importlib
import re
from typing import Final

from sidecar.relay.message.plain import Hook

_NAME: Final = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)", re.ASCII)


class HookError(ValueError):
    """There is no such function."""


def parse_hook(name: str) -> tuple[str, str]:
    """Module and function.

    Raises:
        HookError: in words for the author of the settings.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise HookError("must be 'module:function'")
    return found[1], found[2]


def load_hook(name: str) -> Hook:
    """Import the function, once, at the start. What it does is the operator's code, as trusted.

    Raises:
        HookError: the module cannot be imported, or has no such function.
    """
    module_name, function_name = parse_hook(name)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise HookError(f"the module {module_name} cannot be imported: {error}") from error
    function: Hook | None = getattr(module, function_name, None)
    if not callable(function):
        raise HookError(f"the module {module_name} has no function {function_name}")
    return function

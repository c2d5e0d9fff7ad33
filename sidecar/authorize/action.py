"""Actions (``orders:read``, ``billing:invoice:pay``) and the patterns rules name them by.

A pattern is an action, a namespace (``orders:*``: everything below, but not ``orders``) or ``*``.
An action has few patterns that match it, so rules are found by looking those up, however many
rules there are.
"""

import re
from functools import lru_cache
from typing import Final

_LONGEST: Final = 256
# At most eight levels: each is one more look-up for each request.
_ACTION: Final = re.compile(r"[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+){0,7}")
_PATTERN: Final = re.compile(r"\*|[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+){0,6}:(\*|[A-Za-z0-9_.-]+)")
_EVERY: Final = "*"


@lru_cache(maxsize=4096)
def is_action_pattern(text: str) -> bool:
    """Whether a rule may name actions by `text`."""
    if len(text) > _LONGEST:
        return False
    return _PATTERN.fullmatch(text) is not None or _ACTION.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def patterns_of(action: str) -> tuple[str, ...]:
    """The patterns that match `action`, the narrowest first; none for what is no action.

    ``a:b:c`` -> ``("a:b:c", "a:b:*", "a:*", "*")``. An action asked as a pattern matches nothing.
    """
    if len(action) > _LONGEST or _ACTION.fullmatch(action) is None:
        return ()
    levels = action.split(":")
    namespaces = (":".join(levels[:depth]) + ":*" for depth in range(len(levels) - 1, 0, -1))
    return (action, *namespaces, _EVERY)

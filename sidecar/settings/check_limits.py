"""Checks of limits: rates, circuit breakers."""

import re
from collections.abc import Mapping
from typing import Final

from sidecar.settings.checker import Checker
from sidecar.settings.problem import Path
from sidecar.settings.schema import Rate, Root, RouteRule

# Names stand in strings of structured fields (RFC 9651 section 3.3.3), where these need no quoting.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
# Windows are told to clients as integers of at most 15 digits; a day is more than a bucket is for.
_LONGEST_SECONDS: Final = 86_400.0


def check_limits(root: Root, checker: Checker) -> None:
    """Limits that could not be told apart, or that could never count anything."""
    _check_rates(root.limits.rates, ("limits", "rates"), checker)
    for index, rule in enumerate(root.routes):
        path: Path = ("routes", index, "rates")
        _check_rates(rule.rates, path, checker)
        for name, rate in rule.rates.items():
            if name in root.limits.rates:
                checker.remark((*path, name), "the same name as one of limits.rates")
            _check_rate_of_route(rule, rate, (*path, name), checker)
    for name, upstream in root.upstreams.items():
        breaker = upstream.breaker
        if breaker is not None and breaker.longest_open_seconds < breaker.open_seconds:
            checker.wrong(
                ("upstreams", name, "breaker", "longest_open_seconds"),
                f"must be at least open_seconds, which is {breaker.open_seconds}",
            )


def _check_rates(rates: Mapping[str, Rate], path: Path, checker: Checker) -> None:
    for name, rate in rates.items():
        if not _NAME.fullmatch(name):
            checker.wrong(
                (*path, name), "the name of a limit has letters, digits, `-`, `_` and `.` only"
            )
        if rate.seconds > _LONGEST_SECONDS:
            checker.wrong(
                (*path, name, "seconds"),
                "must be at most a day: counts are kept in memory and end with the process",
            )


def _check_rate_of_route(rule: RouteRule, rate: Rate, path: Path, checker: Checker) -> None:
    if rate.per == "principal" and rule.access == "public":
        checker.remark(
            (*path, "per"), "has no meaning on a public route: nobody is asked who they are"
        )
    if rate.per == "address" and rule.conceal:
        checker.remark(
            (*path, "per"),
            "429 before anybody is known would tell that the concealed route exists: put the "
            "limit under limits.rates",
        )

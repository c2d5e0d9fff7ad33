"""Checks of policies for pages of other sites (CORS)."""

import re
from typing import Final

from sidecar.settings.check_credentials import TOKEN
from sidecar.settings.checker import Checker
from sidecar.settings.problem import Path
from sidecar.settings.schema import CorsRule, Root, RouteRule

# As browsers write an origin (RFC 6454 section 6.2): no path, no user, all lower case.
_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?P<host>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII,
)
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
_METHOD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Z-]+", re.ASCII)


def check_cors(root: Root, checker: Checker) -> None:
    """Policies that browsers would not understand, or that would let anybody in."""
    for index, rule in enumerate(root.routes):
        path: Path = ("routes", index, "cors")
        if rule.cors is None:
            _check_forwarded(index, rule, checker)
            continue
        if rule.preflight == "forward":
            checker.remark(
                ("routes", index, "preflight"),
                "either we answer preflights (cors) or the application does (forward)",
            )
        if rule.conceal:
            _conceals(path, checker)
        _check_origins(rule.cors, path, checker)
        _check_names(rule.cors, path, checker)


def _check_forwarded(index: int, rule: RouteRule, checker: Checker) -> None:
    if rule.preflight != "forward":
        return
    path: Path = ("routes", index, "preflight")
    if rule.conceal:
        _conceals(path, checker)
    if "OPTIONS" in rule.methods:
        checker.remark(
            path, "the route names OPTIONS, and so decides itself who may send it: leave out one"
        )


def _conceals(path: Path, checker: Checker) -> None:
    checker.remark(path, "a preflight would tell that the concealed route exists")


def _check_origins(cors: CorsRule, path: Path, checker: Checker) -> None:
    for at, origin in enumerate(cors.origins):
        where = (*path, "origins", at)
        if origin == "*":
            if cors.credentials:
                checker.wrong(
                    where, "any page could act as whoever is signed in: name the origins, or leave "
                    "out `credentials`",
                )  # fmt: skip
            elif len(cors.origins) > 1:
                checker.wrong(where, "means all of them: give it alone")
            continue
        if origin == "null" and cors.credentials:
            # Any page gets this origin in a sandboxed frame: it is as good as `*`.
            checker.wrong(
                where, "any page can be without an origin (a sandboxed frame) and could act as "
                "whoever is signed in: name the origins, or leave out `credentials`",
            )  # fmt: skip
            continue
        check_origin(origin, where, checker)


def check_origin(origin: str, where: Path, checker: Checker) -> None:
    """Whether a browser would write `origin` so."""
    if origin == "null":
        return
    found = _ORIGIN.fullmatch(origin)
    if found is None:
        checker.wrong(
            where, "must be an origin as browsers write it, such as https://app.example",
            _meant(origin) if checker.is_written(where) else "",
        )  # fmt: skip
    elif found["port"] and _DEFAULT_PORTS.get(found["scheme"]) == found["port"]:
        checker.wrong(
            where, "browsers leave out the port that its scheme has anyway",
            origin.rpartition(":")[0] if checker.is_written(where) else "",
        )  # fmt: skip


def _meant(origin: str) -> str:
    """``https://app.example`` for ``https://App.Example/``."""
    lower = origin.lower().rstrip("/")
    if _ORIGIN.fullmatch(lower):
        return lower
    return "https://" + lower if _ORIGIN.fullmatch("https://" + lower) else ""


def _check_names(cors: CorsRule, path: Path, checker: Checker) -> None:
    for at, method in enumerate(cors.methods):
        if not _METHOD.fullmatch(method) or method == "*":
            checker.wrong((*path, "methods", at), "must be a method in upper case", method.upper())
    for key in ("headers", "exposed"):
        for at, name in enumerate(getattr(cors, key)):
            if not TOKEN.fullmatch(name) or name == "*":
                checker.wrong(
                    (*path, key, at), "must be the name of a field; each is named, there is no `*`"
                )

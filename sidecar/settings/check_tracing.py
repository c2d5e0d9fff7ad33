"""Where spans go, and what is sent along. No I/O."""

import re
from typing import Final
from urllib.parse import urlsplit

from sidecar.settings.check_credentials import TOKEN
from sidecar.settings.checker import Checker
from sidecar.settings.problem import Path
from sidecar.settings.schema import Root, Tracing

_AT: Final[Path] = ("tracing",)
# RFC 9110 section 5.5, without what is obsolete.
_VALUE: Final = re.compile(r"[!-~]([ \t!-~]*[!-~])?", re.ASCII)
# Written by the exporter, or of a single connection.
_OURS: Final = frozenset(
    ("connection", "content-encoding", "content-length", "content-type", "expect", "host",
     "transfer-encoding")
)  # fmt: skip
# Of the resource; each is told by us.
_TOLD: Final = {
    "service.name": "tracing.service says it",
    "service.version": "it is the sidecar's",
    "service.instance.id": "each process draws one",
}


def check_tracing(root: Root, checker: Checker) -> None:
    """Add what is wrong with `tracing`; headers are secret, so their values are not quoted."""
    tracing = root.tracing
    if tracing.endpoint:
        checker.parsed((*_AT, "endpoint"), tracing.endpoint, _endpoint)
    _check_headers(tracing, checker)
    _check_resource(tracing, checker)
    if tracing.ca == "":
        checker.wrong((*_AT, "ca"), "must not be empty")
    elif tracing.ca is not None and not tracing.endpoint.lower().startswith("https://"):
        checker.wrong((*_AT, "ca"), "has no meaning for an endpoint that is not https://")
    if not tracing.service.isprintable():
        checker.wrong((*_AT, "service"), "must be one line without control characters")


def _endpoint(url: str) -> str:
    example = "http://host:4318/v1/traces"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"a URL such as {example}") from None
    if not host or parts.scheme not in {"http", "https"} or not re.fullmatch("[!-~]+", url):
        raise ValueError(f"an http or https URL such as {example}: OTLP over gRPC is not spoken")
    if parts.username is not None:
        raise ValueError("a URL without user and password; tracing.headers may carry them")
    if parts.port == 4317:
        raise ValueError(f"the port for HTTP, mostly 4318 ({example}): 4317 is that of gRPC")
    if parts.path in {"", "/"}:
        raise ValueError(f"the whole URL, with the path: {example}")
    if parts.query or parts.fragment:
        raise ValueError(f"a URL without query and fragment, such as {example}")
    return url


def _check_headers(tracing: Tracing, checker: Checker) -> None:
    for name, value in tracing.headers.items():
        path = (*_AT, "headers", name)
        if not TOKEN.fullmatch(name):
            checker.wrong(path, "the name of a field has letters, digits and `-` (RFC 9110, 5.1)")
        elif name.lower() in _OURS:
            checker.wrong(path, "cannot be set: it belongs to the connection or is the exporter's")
        elif not _VALUE.fullmatch(value):
            checker.wrong(path, "must be printable ASCII, without spaces around it")


def _check_resource(tracing: Tracing, checker: Checker) -> None:
    for name, value in tracing.resource.items():
        path = (*_AT, "resource", name)
        if name in _TOLD:
            checker.wrong(path, f"cannot be set: {_TOLD[name]}")
        elif not name or not name.isprintable() or not value.isprintable() or not value:
            checker.wrong(path, "needs a name and a value, each one line")

"""Checks of the names of fields that we write."""

import ipaddress
from typing import Final

from sidecar.settings.check_credentials import TOKEN
from sidecar.settings.checker import Checker
from sidecar.settings.problem import Path
from sidecar.settings.schema import Root

# Lower-case name -> why it cannot be ours. RFC 9110 sections 7.6.1 (hop-by-hop), 8.6, 7.2, 11.6;
# RFC 9112 section 6; RFC 7239; W3C Trace Context.
RESERVED: Final = {
    **dict.fromkeys(
        (
            "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
            "upgrade", "proxy-authenticate", "proxy-authorization",
        ),
        "it belongs to a single connection",
    ),
    **dict.fromkeys(("content-length", "content-type", "content-encoding", "expect"),
        "it describes the body",
    ),
    **dict.fromkeys(("host", "date", "via"), "it is part of HTTP itself"),
    **dict.fromkeys(("authorization", "cookie", "set-cookie"), "it carries credentials"),
    **dict.fromkeys(
        (
            "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port",
            "x-forwarded-proto", "x-real-ip",
        ),
        "it tells where the request came from",
    ),
    **dict.fromkeys(("traceparent", "tracestate", "baggage"), "it carries the trace"),
}  # fmt: skip


def check_fields(root: Root, checker: Checker) -> None:
    """Names of identity and forwarded fields, and the networks that are believed."""
    taken: dict[str, Path] = {}
    for path, name in (
        (("identity", "user"), root.identity.user),
        (("identity", "tenant"), root.identity.tenant),
        (("identity", "roles"), root.identity.roles),
        (("forwarded", "request_id"), root.forwarded.request_id),
    ):
        if name is not None and checker.is_sound(path):
            _check_name(name, path, taken, checker)
    for index, network in enumerate(root.forwarded.trusted):
        check_network(network, ("forwarded", "trusted", index), checker)


def _check_name(name: str, path: Path, taken: dict[str, Path], checker: Checker) -> None:
    lower = name.lower()
    if not TOKEN.fullmatch(name):
        checker.wrong(path, "must be the name of a field: letters, digits and `-` (RFC 9110, 5.1)")
    elif "_" in name:
        # Many servers read X_User and X-User as one (CGI): such variants are removed.
        checker.wrong(
            path, "must not contain `_`, which servers confuse with `-`", name.replace("_", "-")
        )
    elif lower in RESERVED:
        checker.wrong(path, f"{checker.quote(path, name)} cannot be used: {RESERVED[lower]}")
    elif lower in taken:
        checker.wrong(path, f"the same name as {'.'.join(map(str, taken[lower]))}")
    else:
        taken[lower] = path


def check_network(text: str, path: Path, checker: Checker) -> None:
    """A setting that says from whom something is believed."""
    if text == "unix":
        return
    try:
        ipaddress.ip_network(text)
    except ValueError:
        meant = _network_meant(text) if checker.is_written(path) else ""
        checker.wrong(path, "must be a network such as 10.0.0.0/8, or unix", meant)


def _network_meant(text: str) -> str:
    """``10.0.0.0/8`` for ``10.0.0.1/8``."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return ""

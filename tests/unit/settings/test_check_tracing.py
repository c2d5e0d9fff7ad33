"""Tracing: what is refused before it takes effect, and what no message may show."""

from pathlib import Path

import pytest

from sidecar.settings.load import load, parse
from sidecar.settings.problem import SettingsError
from sidecar.settings.schema import Root

REST = """\
upstreams: {app: {url: "http://127.0.0.1:9000"}}
credentials: {token_key: "0123456789abcdef0123456789abcdef"}
routes: [{path: /, access: authenticated}]
stores: {postgres: {dsn: "postgresql://db/sidecar"}}
"""
EXAMPLE = "http://host:4318/v1/traces"


def settings(tracing: str) -> Root:
    return parse(f"{REST}tracing: {{{tracing}}}\n", environ={"OTLP": "s3cr3t\x07"})


def problems(tracing: str) -> list[str]:
    """What is wrong, without its place."""
    with pytest.raises(SettingsError) as caught:
        settings(tracing)
    return [str(problem).split(": ", 1)[1] for problem in caught.value.problems]


WRONG = {
    'endpoint: "127.0.0.1:4318"': (
        f"tracing.endpoint: must be an http or https URL such as {EXAMPLE}: OTLP over gRPC is not "
        "spoken"
    ),
    'endpoint: "grpc://h/v1/traces"': (
        f"tracing.endpoint: must be an http or https URL such as {EXAMPLE}: OTLP over gRPC is not "
        "spoken"
    ),
    'endpoint: "http://h:4318"': (
        f"tracing.endpoint: must be the whole URL, with the path: {EXAMPLE}"
    ),
    'endpoint: "http://h:4317/v1/traces"': (
        f"tracing.endpoint: must be the port for HTTP, mostly 4318 ({EXAMPLE}): 4317 is that of "
        "gRPC"
    ),
    'endpoint: "http://h:x/v1/traces"': f"tracing.endpoint: must be a URL such as {EXAMPLE}",
    'endpoint: "http://u:p@h/v1/traces"': (
        "tracing.endpoint: must be a URL without user and password; tracing.headers may carry them"
    ),
    'endpoint: "http://h/v1/traces?key=1"': (
        f"tracing.endpoint: must be a URL without query and fragment, such as {EXAMPLE}"
    ),
    "ratio: 1.5": "tracing.ratio: must be a number from 0 to 1",
    "ratio: -0.1": "tracing.ratio: must be a number from 0 to 1",
    "spans_per_second: 0": "tracing.spans_per_second: must be a whole number from 1 to 10000",
    "queue: 1": "tracing.queue: must be a whole number from 64 to 100000",
    "timeout_seconds: 0": "tracing.timeout_seconds: must be a number greater than 0",
    'service: ""': "tracing.service: must be text of at least 1 characters",
    'service: "a\\nb"': "tracing.service: must be one line without control characters",
    'resource: {"service.name": x}': (
        'tracing.resource["service.name"]: cannot be set: tracing.service says it'
    ),
    'resource: {k: ""}': "tracing.resource.k: needs a name and a value, each one line",
    'headers: {"a b": x}': (
        'tracing.headers["a b"]: the name of a field has letters, digits and `-` (RFC 9110, 5.1)'
    ),
    "headers: {Content-Type: x}": (
        "tracing.headers.Content-Type: cannot be set: it belongs to the connection or is the "
        "exporter's"
    ),
    'headers: {Authorization: "${OTLP}"}': (
        "tracing.headers.Authorization: must be printable ASCII, without spaces around it"
    ),
    "ca: ca.pem": "tracing.ca: has no meaning for an endpoint that is not https://",
    'ca: ""': "tracing.ca: must not be empty",
    "endpont: x": "tracing.endpont: unknown key (did you mean endpoint?)",
}


@pytest.mark.parametrize("tracing", WRONG)
def test_what_is_wrong_is_said(tracing: str) -> None:
    assert problems(tracing) == [WRONG[tracing]]


def test_it_is_off_by_default() -> None:
    assert settings("").tracing.endpoint == ""


def test_headers_are_secret(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hunter2\n")
    (tmp_path / "f.yaml").write_text(
        REST + 'tracing: {endpoint: "https://h/v1/traces", ca: ca.pem, '
        'headers: {Authorization: "Bearer ${file:token}"}}\n'
    )
    root = load(tmp_path / "f.yaml", environ={})
    assert root.tracing.headers == {"Authorization": "Bearer hunter2"}
    assert root.tracing.ca == str(tmp_path / "ca.pem")
    assert "hunter2" not in repr(root)

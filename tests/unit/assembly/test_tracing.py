"""The SDK is loaded where there is an endpoint, and upstreams have names in spans."""

import subprocess
import sys

import msgspec

from sidecar.assembly import tracing
from sidecar.settings.schema import Root
from sidecar.telemetry.request_spans import Target


def root(**tracing: str) -> Root:
    return msgspec.convert(
        {
            "upstreams": {
                "plain": {"url": "http://app:9000"},
                "tls": {"url": "https://app"},
                "unix": {"url": "unix:/run/app.sock"},
            },
            "stores": {"postgres": {"dsn": "postgresql://db/sidecar"}},
            "credentials": {"token_key": "k" * 32},
            "routes": [{"path": "/", "access": "public", "upstream": "plain"}],
            "tracing": tracing,
        },
        Root,
    )


def test_upstreams_as_spans_name_them() -> None:
    assert tracing._targets(root()) == {
        "plain": Target("plain", "app", 9000, "http://app:9000"),
        "tls": Target("tls", "app", 443, "https://app:443"),
        "unix": Target("unix", "/run/app.sock", None, ""),
    }


async def test_nothing_is_recorded_by_default() -> None:
    async with tracing.tracing(root()) as tracer:
        assert tracer.traces is None
        assert not tracer.propagation.is_recording
        assert tracer.tables == []


def test_the_sdk_is_not_loaded_by_default() -> None:
    """In a process of its own: this one has loaded it for other tests."""
    script = (
        "import sys, sidecar.cli.run, sidecar.assembly.serving, sidecar.assembly.tracing as t\n"
        "from tests.unit.assembly.test_tracing import root\n"
        "def loaded(): return 'opentelemetry.exporter.otlp.proto.http' in sys.modules\n"
        "t.preload(root()); before = loaded()\n"
        "t.preload(root(endpoint='http://127.0.0.1:1/v1/traces'))\n"
        "sys.exit(0 if (before, loaded()) == (False, True) else 1)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

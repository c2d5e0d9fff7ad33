from pathlib import Path

import pytest

CONFIG = """\
upstreams:
  app:
    url: http://127.0.0.1:9000
stores:
  postgres:
    dsn: ${DSN}
credentials:
  token_key: ${KEY}
routes:
  - path: /api/orders/{order_id}
    permission: orders:read
    resource: orders/{order_id}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration without problems; a test may write another text into it."""
    monkeypatch.setenv("DSN", "postgresql://sidecar:hunter2@localhost/sidecar")
    monkeypatch.setenv("KEY", "0123456789abcdef0123456789abcdef")
    monkeypatch.delenv("SIDECAR_TOKEN", raising=False)
    monkeypatch.delenv("SIDECAR_CONFIG", raising=False)
    path = tmp_path / "sidecar.yaml"
    path.write_text(CONFIG)
    return path

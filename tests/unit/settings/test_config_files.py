"""The files people copy from: they load, and the reference leaves nothing out."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from sidecar.settings.load import parse
from sidecar.settings.schema import Credentials, Issuer, Jwks, Root, RouteRule, Settings

CONFIG = Path(__file__).parents[3] / "config"
EXAMPLES = sorted((CONFIG / "examples").glob("*.yaml"))
ENVIRON = {
    "SIDECAR_DATABASE_URL": "postgresql://sidecar@db/sidecar",
    "SIDECAR_REDIS_URL": "redis://cache:6379",
    "SIDECAR_REDIS_PASSWORD": "hunter2",
    "SIDECAR_TOKEN_KEY": "0123456789abcdef0123456789abcdef",
    "POD_AUDIENCE": "api",
}
SECRETS = {
    "/etc/sidecar/secrets/database-url": ENVIRON["SIDECAR_DATABASE_URL"],
    "/etc/sidecar/secrets/redis-url": ENVIRON["SIDECAR_REDIS_URL"],
    "/etc/sidecar/secrets/token-key": ENVIRON["SIDECAR_TOKEN_KEY"],
    "/run/secrets/sidecar-token-key": ENVIRON["SIDECAR_TOKEN_KEY"],
}


def test_there_are_the_examples_that_the_documentation_names() -> None:
    names = ["cluster", "jwt", "kubernetes", "legacy", "mesh", "minimal", "public-api", "sentinel"]
    names += ["tls", "websocket-graphql", "websocket-json-rpc", "websocket-stomp"]
    assert [path.stem for path in EXAMPLES] == names


@pytest.mark.parametrize("path", [CONFIG / "sidecar.yaml", *EXAMPLES], ids=lambda path: path.stem)
def test_a_file_loads(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    for number, (name, value) in enumerate(SECRETS.items()):
        (tmp_path / str(number)).write_text(value)
        text = text.replace(f"${{file:{name}}}", f"${{file:{tmp_path}/{number}}}")
    assert isinstance(parse(text, environ=ENVIRON, file=path.name), Root)


def left_out(written: Any, settings: Settings, path: str = "") -> list[str]:
    """Settings that `written` does not show."""
    missing = []
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if name not in written:
            missing.append(f"{path}{name}")
        elif isinstance(value, Settings):
            missing += left_out(written[name], value, f"{path}{name}.")
    return missing


def test_the_reference_shows_every_setting() -> None:
    written = yaml.safe_load((CONFIG / "sidecar.yaml").read_text())
    root = parse((CONFIG / "sidecar.yaml").read_text(), environ=ENVIRON)
    missing = left_out(written, root)
    missing += left_out(written["upstreams"]["app"], root.upstreams["app"])
    missing += left_out(written["credentials"]["issuers"][0], root.credentials.issuers[0])
    shown = {name for route in written["routes"] for name in route}
    missing += sorted(set(RouteRule.__struct_fields__) - shown)
    assert missing == []


def differing(settings: Settings, path: str = "") -> dict[str, Any]:
    """Settings with a default that have another value."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(settings):
        value = getattr(settings, field.name)
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        else:
            default = field.default
        if isinstance(value, Settings):
            found |= differing(value, f"{path}{field.name}.")
        elif default is not msgspec.NODEFAULT and value != default:
            found[f"{path}{field.name}"] = value
    return found


def test_the_reference_shows_defaults() -> None:
    root = parse((CONFIG / "sidecar.yaml").read_text(), environ=ENVIRON)
    assert set(differing(root)) == {"stores.redis.url", "credentials.issuers"}
    assert set(differing(root.upstreams["app"])) == set()
    assert set(differing(root.credentials.issuers[0])) == {"tenant", "jwks.url"}
    assert isinstance(root.credentials, Credentials)
    assert isinstance(root.credentials.issuers[0], Issuer)
    assert isinstance(root.credentials.issuers[0].jwks, Jwks)

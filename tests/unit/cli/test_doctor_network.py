"""Applications and issuers, as `sidecar doctor` finds them."""

import asyncio
import json
from pathlib import Path

from sidecar.cli import doctor_network
from sidecar.cli.doctor_findings import State
from sidecar.settings.schema import Issuer, Jwks, Upstream
from tests.unit.authenticate.signing import elliptic, public


async def test_an_upstream_on_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    server = await asyncio.start_unix_server(lambda _, writer: writer.close(), path)
    upstream = Upstream(url=f"unix:{path}")
    [found] = await doctor_network.look_at_upstream("app", upstream)
    assert found.state is State.OK
    server.close()
    await server.wait_closed()
    path.unlink()
    [found] = await doctor_network.look_at_upstream("app", upstream)
    assert (found.state, "No such file" in found.message) == (State.PROBLEM, True)


async def test_the_keys_of_an_issuer(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    issuer = Issuer(issuer="https://i", audiences=("a",), jwks=Jwks(file=str(keys)))
    [found] = await doctor_network.look_at_issuer(issuer)
    assert (found.state, "No such file" in found.message) == (State.PROBLEM, True)
    good = [public(elliptic(), kid=name, use="sig") for name in ("one", "two")]
    keys.write_text(json.dumps({"keys": good}))
    [found] = await doctor_network.look_at_issuer(issuer)
    assert (found.state, found.message) == (State.OK, "https://i has 2 usable key(s)")
    weak = {"kty": "oct", "k": "AAAA", "kid": "weak"}
    keys.write_text(json.dumps({"keys": [*good, weak]}))
    [found] = await doctor_network.look_at_issuer(issuer)
    assert (found.state, "not used" in found.message) == (State.WARNING, True)

import json
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet, RSAKey

from perf.workload import AUDIENCE, ISSUER, OUTSIDER, TOKENS, Fault, Workload, prepared


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    return prepared(tmp_path_factory.mktemp("workload"))


def bearer(request: bytes) -> str:
    return request.split(b"Authorization: Bearer ")[1].split(b"\r\n")[0].decode()


def claims(workload: Workload, token: str) -> dict[str, object]:
    """Raises where the signature is not the issuer's."""
    keys = KeySet.import_key_set(json.loads(workload.jwks.read_text()))
    return jwt.decode(token, keys, algorithms=["RS256"]).claims


def test_each_request_is_whole_and_carries_a_token_of_its_own(workload: Workload) -> None:
    requests = json.loads(workload.requests.read_text())
    assert len({bearer(each.encode()) for each in requests}) == TOKENS
    for each in (requests[0], requests[-1]):
        assert each.startswith("GET /api/orders HTTP/1.1\r\nHost: orders.example.com\r\n")
        assert each.endswith("\r\n\r\n")
        assert each.count("\r\n\r\n") == 1
        assert "\n" not in each.replace("\r\n", "")


def test_the_sound_request_is_sound(workload: Workload) -> None:
    found = claims(workload, bearer(workload.sound))
    assert (found["iss"], found["aud"], found["sub"]) == (ISSUER, AUDIENCE, "user-0000")


def test_both_forms_of_the_key_are_the_same_key(workload: Workload) -> None:
    pem = RSAKey.import_key(workload.public_key.read_text())
    (jwk,) = KeySet.import_key_set(json.loads(workload.jwks.read_text())).keys
    assert pem.thumbprint() == jwk.thumbprint()
    assert "PRIVATE" not in workload.public_key.read_text()
    assert not jwk.is_private


def test_probes_have_the_fault_they_say(workload: Workload) -> None:
    probes = {probe.why: probe for probe in workload.probes}
    assert b"Authorization" not in probes["no token"].request
    with pytest.raises(BadSignatureError):
        claims(workload, bearer(probes["a forged signature"].request))
    found = {
        why: claims(workload, bearer(probe.request))
        for why, probe in probes.items()
        if why not in {"no token", "a forged signature"}
    }
    sound = claims(workload, bearer(workload.sound))
    expired = found["an expired token"]
    assert isinstance(expired["exp"], int)
    assert isinstance(sound["iat"], int)
    # Beyond any leeway.
    assert expired["exp"] < sound["iat"] - 300
    assert found["another issuer"]["iss"] != ISSUER
    assert found["a token for another audience"]["aud"] != AUDIENCE
    outsider = found["a user without the permission"]
    assert (outsider["sub"], outsider["iss"], outsider["aud"]) == (OUTSIDER, ISSUER, AUDIENCE)


def test_every_fault_is_probed(workload: Workload) -> None:
    assert {probe.fault for probe in workload.probes} == set(Fault)


def test_only_the_owner_reads_the_listeners_key(workload: Workload) -> None:
    assert workload.private_key.stat().st_mode & 0o077 == 0
    assert Path(workload.certificate).read_text().startswith("-----BEGIN CERTIFICATE-----")

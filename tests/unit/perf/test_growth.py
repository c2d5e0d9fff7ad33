import itertools
import json
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from perf.growth.grown import Growth, gathered
from perf.growth.tokens import issuer
from perf.load.once import tokens
from perf.load.streams import heads
from perf.report import Ratio
from perf.workload import ISSUER

LINES = {"sidecar": {1: [10.0, 20.0, 30.0], 1_000: [11.0, 22.0, 60.0]}}


def test_growth_is_by_the_smallest_size_within_each_round() -> None:
    growth = Growth("Routes", "routes", "µs", LINES)
    assert growth.shown("sidecar", 1) == Ratio(1.0, 1.0, 1.0)
    assert growth.shown("sidecar", 1_000) == Ratio(1.1, 1.1, 2.0)
    assert "1.10 (1.10-2.00) of 1" in growth.table()


def test_another_size_may_be_the_base() -> None:
    growth = Growth("Connections", "open", "µs", LINES, base=1_000)
    assert growth.shown("sidecar", 1).value == pytest.approx(20 / 22)
    assert growth.panel().values == "µs; 1000 is 1"


def test_what_is_not_relative_is_shown_as_it_is() -> None:
    growth = Growth("Memory", "tokens", "MB", LINES, is_relative=False)
    assert growth.shown("sidecar", 1) == Ratio(20.0, 10.0, 30.0)
    assert growth.panel().lines[0].points[0] == (1, 20.0, 10.0, 30.0)


def test_rounds_are_gathered_by_line_and_size() -> None:
    rounds = [{("a", 1): 1.0, ("b", 1): 2.0}, {("a", 1): 3.0, ("b", 1): 4.0}]
    assert gathered(rounds) == {"a": {1: [1.0, 3.0]}, "b": {1: [2.0, 4.0]}}


def test_tokens_are_different_and_verify_with_the_larger_set(tmp_path: Path) -> None:
    jwks = tmp_path / "jwks.json"
    rsa = RSAKey.generate_key(2048, {"kid": "first"})
    jwks.write_text(json.dumps(KeySet([rsa]).as_dict(private=False)))
    private, both = issuer(tmp_path, jwks)
    keys = KeySet.import_key_set(json.loads(both.read_text()))
    assert {key.kid for key in keys} == {"first", "bench-ed25519"}
    made = list(itertools.islice(tokens(private), 5))
    assert len(set(made)) == 5
    for token in made:
        assert jwt.decode(token, keys, algorithms=["Ed25519"]).claims["iss"] == ISSUER


def test_a_body_goes_in_one_direction() -> None:
    by_direction = heads("t", 64_000)
    assert by_direction["down"].startswith(b"GET /api/orders?bytes=64000 ")
    assert b"Content-Length" not in by_direction["down"]
    assert by_direction["up"].startswith(b"POST ")
    assert b"Content-Length: 64000\r\n" in by_direction["up"]

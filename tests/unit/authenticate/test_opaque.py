"""Session tokens: what we signed is recognized, and nothing else."""

import re
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.authenticate.opaque import (
    TOKEN_CHARACTERS,
    check,
    digest,
    digest_key,
    mint,
    signing_key,
)

KEY = signing_key("x" * 32)


@given(shard=st.integers(0, 255), random=st.binary(min_size=32, max_size=32))
def test_a_minted_token_names_its_shard(shard: int, random: bytes) -> None:
    token = mint(shard, random, KEY)
    assert len(token) == TOKEN_CHARACTERS
    assert re.fullmatch(r"scs1_[\w-]{44}_[\w-]{16}", token)
    assert check(token, KEY) == shard


@given(at=st.integers(0, 65), character=st.characters())
def test_a_changed_character_is_noticed(at: int, character: str) -> None:
    token = mint(7, b"r" * 32, KEY)
    changed = token[:at] + character + token[at + 1 :]
    assert (check(changed, KEY) is None) is (changed != token)


@pytest.mark.parametrize("token", ["", "scs1_", mint(1, b"r" * 32, KEY) + "\n", "ä" * 66])
def test_other_strings_are_none(token: str) -> None:
    assert check(token, KEY) is None


def test_another_deployment_signs_differently() -> None:
    assert check(mint(1, b"r" * 32, KEY), signing_key("y" * 32)) is None


def test_keys_are_derived_for_one_purpose_each() -> None:
    assert signing_key("x" * 32) != digest_key("x" * 32)
    assert len(signing_key("x" * 32)) == len(digest_key("x" * 32)) == 32


def test_the_digest_is_that_of_the_whole_token() -> None:
    token = mint(1, b"r" * 32, KEY)
    assert digest(token) == sha256(token.encode()).digest()


@pytest.mark.parametrize("random", [b"", b"r" * 31, b"r" * 33])
def test_less_randomness_is_refused(random: bytes) -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        mint(1, random, KEY)


def test_a_shard_is_one_byte() -> None:
    with pytest.raises(ValueError, match="range"):
        mint(256, b"r" * 32, KEY)

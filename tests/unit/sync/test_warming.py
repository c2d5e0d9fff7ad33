"""Favourites as members of a sorted set: there and back, and whatever else may stand there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.need import RolesNeed, SessionNeed, StoreNeed, UserNeed
from sidecar.sync.warming import decode_need, encode_need


@pytest.mark.parametrize(
    "need", [SessionNeed(b"d" * 32, 7), UserNeed("acme", "ann é"), RolesNeed("acme")]
)
def test_a_need_survives(need: StoreNeed) -> None:
    found = decode_need(encode_need(need))
    assert found == need
    assert type(found) is type(need)


@given(st.binary(max_size=40))
def test_what_another_release_wrote_is_ignored(member: bytes) -> None:
    found = decode_need(member)
    assert found is None or decode_need(encode_need(found)) == found

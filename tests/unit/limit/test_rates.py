"""Several limits at once: all or none, and what clients are told."""

import pytest

from sidecar.limit.buckets import Buckets
from sidecar.limit.rates import REASONS, Limit, Per, fields_of, take
from sidecar.model.reason import STATUS

START = 1_000.0


def limit(name: str, requests: int, seconds: float, *, burst: int = 0) -> Limit:
    buckets = Buckets(seconds / requests, burst or requests, 100)
    return Limit(name, Per.PRINCIPAL, requests, seconds, buckets)


def test_every_kind_has_a_reason_of_its_own() -> None:
    assert {STATUS[REASONS[per]] for per in Per} == {429}
    assert len({REASONS[per] for per in Per}) == len(Per)


def test_all_have_to_allow_and_none_is_charged_when_one_refuses() -> None:
    wide, narrow = limit("wide", 10, 1.0), limit("narrow", 1, 10.0)
    charges = [(wide, "a"), (narrow, "a")]
    assert take(charges, START) is None
    for _ in range(100):
        excess = take(charges, START)
        assert excess is not None
        assert (excess.limit, excess.seconds) == (narrow, 10)
    assert wide.buckets.tokens("a", START) == pytest.approx(9.0)


def test_who_exceeds_several_is_told_to_wait_for_the_last() -> None:
    short, long = limit("short", 1, 1.0), limit("long", 1, 60.0)
    charges = [(short, "a"), (long, "a")]
    take(charges, START)
    excess = take(charges, START)
    assert excess is not None
    assert (excess.limit, excess.seconds) == (long, 60)
    assert excess.fields == (
        b'RateLimit-Policy: "short";q=1;w=1, "long";q=1;w=60\r\n'
        b'RateLimit: "short";r=0;t=1, "long";r=0;t=60\r\n'
    )
    assert take(charges, START + excess.seconds) is None, "what was told holds"


def test_the_wait_is_rounded_up() -> None:
    charges = [(limit("a", 4, 1.0), "k")]
    for _ in range(4):
        assert take(charges, START) is None
    excess = take(charges, START)
    assert excess is not None
    assert excess.seconds == 1, "a quarter of a second, in whole ones"


def test_only_those_that_refuse_are_named() -> None:
    wide, narrow = limit("wide", 10, 1.0), limit("narrow", 1, 10.0)
    charges = [(narrow, "a"), (wide, "a")]
    take(charges, START)
    excess = take(charges, START)
    assert excess is not None
    assert b"wide" not in excess.fields


@pytest.mark.parametrize(
    ("taken", "after", "left"),
    [
        (0, 0.0, b'"a";r=5;t=12'),
        (1, 0.0, b'"a";r=4;t=12'),
        (1, 6.0, b'"a";r=4;t=6'),
        (5, 0.0, b'"a";r=0;t=12'),
        (5, 30.0, b'"a";r=2;t=6'),
        (5, 600.0, b'"a";r=5;t=12'),
    ],
)
def test_what_is_left_and_for_how_long(taken: int, after: float, left: bytes) -> None:
    each = limit("a", 5, 60.0)
    for _ in range(taken):
        assert take([(each, "k")], START) is None
    fields = fields_of([(each, "k")], START + after)
    assert fields == b'RateLimit-Policy: "a";q=5;w=60\r\nRateLimit: ' + left + b"\r\n"


def test_a_window_below_a_second_is_told_as_one() -> None:
    assert limit("a", 5, 0.2).policy() == '"a";q=5;w=1'

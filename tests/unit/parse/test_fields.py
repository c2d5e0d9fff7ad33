"""Rules about fields."""

import math

import pytest

from sidecar.parse.fields import kept_seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"timeout=5", 5.0),
        (b"timeout=5, max=100", 5.0),
        (b"max=100, Timeout = 15", 15.0),
        (b"max=0, timeout=5", 0.0),
        (b"timeout=0", 0.0),
        (b"max=7", math.inf),
        (b"", math.inf),
        (b"timeout=x", math.inf),
        (b"mytimeout=5", math.inf),
        (b"timeout=12345678901", math.inf),
    ],
)
def test_how_long_a_connection_is_kept(value: bytes, seconds: float) -> None:
    assert kept_seconds(value) == seconds

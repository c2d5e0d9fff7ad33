import pytest

from perf.load.generator import COME_AGAIN, is_whole
from perf.rounds import patiently

LATER = RuntimeError(f"sidecar: load generator: {COME_AGAIN}: b'HTTP/1.1 503 ...'")


class Measured:
    """Fails so often."""

    def __init__(self, *errors: RuntimeError) -> None:
        self._errors = list(errors)

    def __call__(self) -> dict[str, float]:
        if self._errors:
            raise self._errors.pop(0)
        return {"requests": 1.0}


def test_who_is_told_to_come_again_does() -> None:
    told: list[str] = []
    assert patiently("sidecar", Measured(LATER, LATER), told.append) == {"requests": 1.0}
    assert len(told) == 2


def test_but_not_for_ever() -> None:
    with pytest.raises(RuntimeError, match=COME_AGAIN):
        patiently("sidecar", Measured(LATER, LATER, LATER), print)


def test_a_wrong_answer_is_never_asked_for_again() -> None:
    wrong = RuntimeError("answered 200 to a forged signature under load, not 401")
    with pytest.raises(RuntimeError, match="forged"):
        patiently("sidecar", Measured(wrong), print)


def test_the_generator_says_when_it_was_told_to_come_again() -> None:
    with pytest.raises(RuntimeError, match=COME_AGAIN):
        is_whole(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n")
    with pytest.raises(RuntimeError, match="unexpected answer"):
        is_whole(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")

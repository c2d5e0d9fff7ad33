"""Close codes, and frames of ours."""

import pytest

from sidecar.model.decision import Denial
from sidecar.model.reason import Reason
from sidecar.relay.closing import BINARY, CLOSE, Code, close_payload, code_of, is_code, masked
from sidecar.relay.closing import frame as ours
from tests.unit.relay.wire import MASK, frame, mask


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.SESSION_REVOKED, 4401),
        (Reason.SESSION_EXPIRED, 4401),
        (Reason.TOKEN_EXPIRED, 4401),
        (Reason.USER_DISABLED, 4401),
        (Reason.UNKNOWN_SESSION, 4401),
        (Reason.NOT_GRANTED, 4403),
        (Reason.DENIED_BY_RULE, 4403),
        (Reason.UNKNOWN_ROUTE, 4403),
        (Reason.STORES_UNAVAILABLE, 1013),
        (Reason.INTERNAL_ERROR, 1011),
        (Reason.PUBLIC, 4403),
    ],
)
def test_codes_of_refusals(reason: Reason, code: int) -> None:
    assert code_of(Denial(reason)) == code


def test_only_codes_that_are_for_frames() -> None:
    allowed = {code for code in range(65_536) if is_code(code)}
    assert allowed == {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}
    assert all(is_code(code) for code in Code if code not in {Code.NO_CODE, Code.ABNORMAL})


def test_a_reason_is_cut_between_characters() -> None:
    payload = close_payload(1000, "ä" * 62)
    assert payload == b"\x03\xe8" + "ä".encode() * 61
    assert len(payload) <= 125


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 125, 126, 65_535, 65_536])
def test_frames_are_written_as_others_write_them(size: int) -> None:
    payload = bytes(at % 251 for at in range(size))
    assert ours(BINARY, payload) == frame(BINARY, payload, masked=False)
    assert ours(BINARY, payload, MASK) == frame(BINARY, payload)
    assert masked(payload, MASK) == mask(payload)
    assert ours(CLOSE, b"")[:1] == b"\x88"

import pytest

from sidecar.model.decision import Denial
from sidecar.model.head import Fields
from sidecar.model.reason import Reason
from sidecar.parse.framing import (
    UNTIL_CLOSE,
    UpstreamMalformedError,
    request_length,
    response_length,
)

First = dict[bytes, bytes]
CL, TE = b"content-length", b"transfer-encoding"


def fields(first: First, repeated: dict[bytes, list[bytes]] | None = None) -> Fields:
    head = Fields()
    more = [(name, value) for name in repeated or {} for value in (repeated or {})[name][1:]]
    head.set_fields((*first.items(), *more))
    return head


@pytest.mark.parametrize(
    ("first", "minor", "expected"),
    [
        ({}, 1, 0),
        ({CL: b"0"}, 1, 0),
        ({CL: b"12"}, 0, 12),
        ({CL: b"9" * 18}, 1, 10**18 - 1),
        ({TE: b"chunked"}, 1, None),
        ({TE: b"Chunked"}, 1, None),
    ],
)
def test_length_of_a_request(first: First, minor: int, expected: int | None) -> None:
    assert request_length(fields(first), minor) == expected


@pytest.mark.parametrize(
    ("first", "repeated", "minor", "reason"),
    [
        ({CL: b"+1"}, {}, 1, Reason.AMBIGUOUS_FRAMING),
        ({CL: b"1_0"}, {}, 1, Reason.AMBIGUOUS_FRAMING),
        ({CL: b"0x10"}, {}, 1, Reason.AMBIGUOUS_FRAMING),
        ({CL: b""}, {}, 1, Reason.AMBIGUOUS_FRAMING),
        ({CL: b"1, 1"}, {}, 1, Reason.AMBIGUOUS_FRAMING),
        ({CL: b"1" * 19}, {}, 1, Reason.AMBIGUOUS_FRAMING),
        ({CL: b"1"}, {CL: [b"1", b"1"]}, 1, Reason.AMBIGUOUS_FRAMING),
        ({CL: b"1", TE: b"chunked"}, {}, 1, Reason.AMBIGUOUS_FRAMING),
        ({TE: b"chunked"}, {}, 0, Reason.AMBIGUOUS_FRAMING),
        ({TE: b"chunked"}, {TE: [b"chunked", b"chunked"]}, 1, Reason.AMBIGUOUS_FRAMING),
        ({TE: b"gzip, chunked"}, {}, 1, Reason.UNSUPPORTED_FRAMING),
        ({TE: b"chunked, chunked"}, {}, 1, Reason.UNSUPPORTED_FRAMING),
        ({TE: b"identity"}, {}, 1, Reason.UNSUPPORTED_FRAMING),
        ({TE: b""}, {}, 1, Reason.UNSUPPORTED_FRAMING),
    ],
)
def test_framing_of_a_request_with_two_readings(
    first: First, repeated: dict[bytes, list[bytes]], minor: int, reason: Reason
) -> None:
    found = request_length(fields(first, repeated), minor)
    assert isinstance(found, Denial)
    assert found.reason is reason


@pytest.mark.parametrize(
    ("method", "status", "first", "expected"),
    [
        ("GET", 200, {CL: b"5"}, 5),
        ("GET", 200, {TE: b"chunked"}, None),
        ("GET", 200, {}, UNTIL_CLOSE),
        ("HEAD", 200, {CL: b"5"}, 0),
        ("HEAD", 200, {TE: b"chunked"}, 0),
        ("HEAD", 200, {}, 0),
        ("GET", 204, {}, 0),
        ("GET", 204, {CL: b"5"}, 0),
        ("GET", 304, {CL: b"5"}, 0),
        ("GET", 100, {}, 0),
        ("GET", 103, {CL: b"5"}, 0),
    ],
)
def test_length_of_a_response(method: str, status: int, first: First, expected: int | None) -> None:
    assert response_length(method, status, 1, fields(first)) == expected


@pytest.mark.parametrize(
    ("minor", "first", "repeated"),
    [
        (1, {CL: b"5", TE: b"chunked"}, {}),
        (0, {TE: b"chunked"}, {}),
        (1, {TE: b"gzip"}, {}),
        (1, {TE: b"chunked"}, {TE: [b"chunked", b"chunked"]}),
        (1, {CL: b"x"}, {}),
        (1, {CL: b"5"}, {CL: [b"5", b"6"]}),
    ],
)
def test_contradicting_framing_of_a_response(
    minor: int, first: First, repeated: dict[bytes, list[bytes]]
) -> None:
    with pytest.raises(UpstreamMalformedError):
        response_length("GET", 200, minor, fields(first, repeated))

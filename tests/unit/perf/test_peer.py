from pathlib import Path

import pytest

from perf.peers import peer as peers
from perf.peers.peer import EXPECTED, Guard, Peer, probe
from perf.workload import Fault, Probe, Workload

HERE = Path()
WORKLOAD = Workload(
    jwks=HERE,
    public_key=HERE,
    certificate=HERE / "listener.pem",
    private_key=HERE,
    requests=HERE,
    sound=b"sound",
    probes=tuple(Probe(f"why {each.value}", each, each.value.encode()) for each in Fault),
    tokens=(),
    outsider="",
)


def made(guard: Guard, *, tls: bool = False) -> Peer:
    return Peer("other", "1.0", 1, 1, guard, tls=tls)


def answers(monkeypatch: pytest.MonkeyPatch, given: dict[bytes, int]) -> list[Path | None]:
    """Lets the peer answer so; returns the certificates it was asked with."""
    asked: list[Path | None] = []

    def status(port: int, request: bytes, certificate: Path | None = None) -> int:
        del port
        asked.append(certificate)
        return given[request]

    monkeypatch.setattr(peers, "status", status)
    return asked


def as_expected(guard: Guard) -> dict[bytes, int]:
    return {b"sound": 200} | {fault.value.encode(): min(EXPECTED[guard][fault]) for fault in Fault}


@pytest.mark.parametrize("guard", Guard)
def test_each_guard_is_held_to_every_fault(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, as_expected(guard))
    probe(made(guard), WORKLOAD)
    assert asked == [None] * (1 + len(Fault))


@pytest.mark.parametrize("guard", Guard)
@pytest.mark.parametrize("fault", Fault)
def test_a_peer_that_does_less_or_more_than_it_says_is_refused(
    guard: Guard, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = 200 if 200 not in EXPECTED[guard][fault] else 401
    answers(monkeypatch, as_expected(guard) | {fault.value.encode(): wrong})
    with pytest.raises(RuntimeError, match=f"other answered {wrong} to why {fault.value}"):
        probe(made(guard), WORKLOAD)


def test_a_peer_that_refuses_everything_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, as_expected(Guard.AUTHORIZES) | {b"sound": 401})
    with pytest.raises(RuntimeError, match="401 to a sound request"):
        probe(made(Guard.AUTHORIZES), WORKLOAD)


def test_over_tls_the_certificate_is_believed_that_it_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = answers(monkeypatch, as_expected(Guard.NONE))
    probe(made(Guard.NONE, tls=True), WORKLOAD)
    assert set(asked) == {WORKLOAD.certificate}


def test_who_guards_lets_nothing_pass_without_a_token() -> None:
    for guard, expected in EXPECTED.items():
        assert set(expected) == set(Fault)
        assert (200 in expected[Fault.ANONYMOUS]) == (guard is Guard.NONE)


def test_who_authenticates_believes_no_bad_token() -> None:
    for guard in (Guard.AUTHENTICATES, Guard.AUTHORIZES, Guard.AUTHORIZES_401):
        assert EXPECTED[guard][Fault.UNBELIEVABLE] == {401}
        assert 200 not in EXPECTED[guard][Fault.MISDIRECTED]


def test_who_authorizes_lets_nobody_pass_who_may_not() -> None:
    assert EXPECTED[Guard.AUTHORIZES][Fault.UNPERMITTED] == {403}
    assert EXPECTED[Guard.AUTHORIZES_401][Fault.UNPERMITTED] == {401}

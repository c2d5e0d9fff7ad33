"""When a revocation is `applied`: no sidecar authorizes what it revoked any more (R2, R12)."""

from collections.abc import Iterable
from typing import NamedTuple

from sidecar.cache.following import Beat, Following


class Confirmation(NamedTuple):
    """A sidecar's last heartbeat, as Redis keeps it.

    Attributes:
        member: 128 random bits of the process (R7).
        watermark: the highest sequence it had applied without a gap.
        epoch: the epoch it was served in.
        age: seconds since it was served, by Redis's clock; for people, because that may leap.
    """

    member: str
    watermark: int
    epoch: int
    age: float


class Bounds(NamedTuple):
    """What the wait is reckoned with, in seconds.

    Attributes:
        lease: L.
        isolation: D, how long an isolated old master may still accept writes.
    """

    lease: float
    isolation: float


class Standing(NamedTuple):
    """How far one change has come.

    Attributes:
        applied: whether it is.
        waiting_for: members that could still hold a lease and have not confirmed.
        confirmed: members that have.
        why: what is still missing, for people; empty when it is applied.
    """

    applied: bool
    waiting_for: tuple[str, ...]
    confirmed: tuple[str, ...]
    why: str


def standing(
    seq: int,
    answer: Beat | None,
    members: Iterable[Confirmation],
    *,
    published_for: float,
    epoch_age: float,
    bounds: Bounds,
) -> Standing:
    """How far the change with sequence `seq` has come.

    Args:
        seq: of the change.
        answer: Redis's head and epoch now; None when it is suspect or cannot be asked.
        members: all heartbeats Redis still keeps, of this epoch and others.
        published_for: seconds since Redis was seen to have reached `seq` in this epoch; negative
            when it was not.
        epoch_age: seconds since PostgreSQL chose the epoch, by its own clock.
        bounds: L and D.
    """
    longest = bounds.lease * (1 + Following.MARGIN)
    if answer is None:
        return Standing(False, (), (), "Redis cannot vouch for its content")
    if answer.head < seq or published_for < 0:
        return Standing(False, (), (), "Redis has not been told yet")
    # Also whoever has been silent for long: that it holds no lease is known by our own clock only,
    # once a lease has passed since Redis was told.
    live = tuple(members)
    confirmed = tuple(
        each.member for each in live if each.epoch == answer.epoch and each.watermark >= seq
    )
    waiting = tuple(each.member for each in live if each.member not in confirmed)
    if epoch_age < bounds.lease + bounds.isolation:
        # A sidecar may still be served by the master of the epoch before, and not be listed here.
        why = "the epoch is too young to know all sidecars"
        return Standing(False, waiting, confirmed, why)
    if waiting and published_for < longest:
        return Standing(False, waiting, confirmed, f"{len(waiting)} sidecar(s) have not confirmed")
    return Standing(True, waiting, confirmed, "")

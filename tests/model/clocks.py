"""R10: clocks that run at different rates, and the margin that makes up for them.

One sidecar, one Redis that never forgets, one revocation. The sidecar's clock is slow, and that of
whoever acknowledges (and of Redis) is fast: the worst that R10 allows for. The machines are the
product's `Following` and `standing`; what else can break is in `protocol`.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from sidecar.cache.acknowledgement import Bounds, Confirmation, standing
from sidecar.cache.following import Beat, Following
from tests.model.sidecar import SLOTS, still

# A lease lasts some ticks, so that a few per cent of it show.
LEASE: Final = 20.0
_BOUNDS: Final = Bounds(lease=LEASE, isolation=0.0)
_EPOCH: Final = 1
_LONG_AGO: Final = 10 * LEASE
_MEMBER: Final = "a"


class Rates(NamedTuple):
    """How far the clocks move in one tick of true time."""

    sidecar: float = 0.96
    acknowledger: float = 1.04


class Moment(NamedTuple):
    """Everything at one moment. Ages and leases are by the clock of whoever reads it.

    Attributes:
        following: the slots of the sidecar's `Following`; the past is moved away as time passes.
        old: whether its memory holds what was revoked.
        sent: how long ago its heartbeat in the air was sent, and the head it was answered.
        confirmed: its last heartbeat at Redis: watermark and age.
        published: how long ago Redis was told of the revocation; None before.
        applied: whether that was acknowledged.
    """

    following: tuple[object, ...]
    old: bool = True
    sent: tuple[float, int] | None = None
    confirmed: tuple[int, float] = (0, _LONG_AGO)
    published: float | None = None
    applied: bool = False


class Clocks:
    """A model for the explorer.

    Args:
        rates: of the clocks.
    """

    def __init__(self, rates: Rates) -> None:
        self._rates = rates

    def initial(self) -> Moment:
        """The sidecar has started, and knows the subject."""
        following = Following(LEASE)
        following.beat(0.0, Beat(0, _EPOCH, ""), 0.0)
        return Moment(still(following))

    def steps(self, moment: Moment) -> Iterator[tuple[str, Moment]]:
        """Heartbeats, the news, time."""
        if moment.applied:
            return
        head = 0 if moment.published is None else 1
        watermark = _built(moment).watermark or 0
        if moment.sent is None:
            yield (
                f"Redis serves a heartbeat: head {head}",
                self._judged(moment._replace(sent=(0.0, head), confirmed=(watermark, 0.0))),
            )
        else:
            yield "its answer arrives", self._judged(_answered(moment))
        if moment.published is None:
            yield "Redis is told of the revocation", self._judged(moment._replace(published=0.0))
        elif moment.old:
            yield "the news arrives", self._judged(_heard(moment))
        yield "a tick passes", self._judged(self._later(moment))

    def fault(self, moment: Moment) -> str:
        """Promise 13."""
        if moment.applied and moment.old and _built(moment).lease_until > 0.0:
            return "memory is used although the revocation is applied (promise 13)"
        return ""

    def _later(self, moment: Moment) -> Moment:
        mine, theirs = self._rates
        following = _built(moment)
        following.lease_until = max(0.0, round(following.lease_until - mine, 6))
        sent, published = moment.sent, moment.published
        if sent is not None:
            sent = (min(round(sent[0] + mine, 6), 2 * LEASE), sent[1])
        if published is not None:
            published = min(round(published + theirs, 6), 2 * LEASE)
        watermark, age = moment.confirmed
        return moment._replace(
            following=still(following),
            sent=sent,
            confirmed=(watermark, min(round(age + theirs, 6), _LONG_AGO)),
            published=published,
        )

    def _judged(self, moment: Moment) -> Moment:
        """Whatever may be called applied is called so at once."""
        if moment.published is None:
            return moment
        watermark, age = moment.confirmed
        found = standing(
            1,
            Beat(1, _EPOCH, ""),
            [Confirmation(_MEMBER, watermark, _EPOCH, age)],
            published_for=moment.published,
            epoch_age=_LONG_AGO,
            bounds=_BOUNDS,
        )
        return moment._replace(applied=found.applied)


def _built(moment: Moment) -> Following:
    following = Following(LEASE)
    for slot, kept in zip(SLOTS, moment.following, strict=True):
        setattr(following, slot, dict(kept) if isinstance(kept, frozenset) else kept)
    return following


def _answered(moment: Moment) -> Moment:
    assert moment.sent is not None
    following = _built(moment)
    following.beat(-moment.sent[0], Beat(moment.sent[1], _EPOCH, ""), 0.0)
    return moment._replace(following=still(following), sent=None)


def _heard(moment: Moment) -> Moment:
    following = _built(moment)
    following.hear(1, 0.0, _EPOCH)
    return moment._replace(following=still(following), old=False)

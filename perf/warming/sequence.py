"""Whether a session tells which session comes next: what was tried, and dropped.

Replays which sessions memory lacks, in order, and lets the predictor learn which comes after which.
Pure: no stores. The mix is that of ``perf.sync``; beside it a job that goes through its sessions in
the same order each time, alone, which is the best case there is.
"""

from collections.abc import Iterable, Iterator
from itertools import cycle, islice

from perf.sync.hits import Mix
from sidecar.cache.foresight import Foresight
from sidecar.cache.s3fifo import S3Fifo
from sidecar.model.need import SessionNeed

MISSES = 50_000


def misses(mix: Mix, share: float) -> Iterator[SessionNeed]:
    """The sessions of the mix that a memory of this share of them lacks, in order."""
    kept: S3Fifo[tuple[int, int], bool] = S3Fifo(int(share * mix.sessions))
    for counts, key in mix.trace():
        if counts and kept.get(key) is None:
            kept.put(key, True)
            yield SessionNeed(repr(key).encode(), 0)


def job(sessions: int = 20) -> Iterator[SessionNeed]:
    """One that always goes through its sessions in this order."""
    return cycle(SessionNeed(b"%d" % number, 0) for number in range(sessions))


def right(needs: Iterable[SessionNeed]) -> tuple[float, float]:
    """(share of misses that were predicted, predictions that were wrong for one that was right)."""
    foresight = Foresight(10_000)
    before: SessionNeed | None = None
    guessed: list[object] = []
    asked = hits = wrong = 0
    for need in islice(needs, MISSES):
        asked += 1
        hits += need in guessed
        if before is not None:
            for guess in guessed:
                if guess != need:
                    wrong += 1
                    foresight.wrong(before, guess)  # type: ignore[arg-type]  # as it was learned
            foresight.learn(before, (need,))
        guessed = [*foresight.successors(need)]
        before = need
    return hits / asked, wrong / max(1, hits)

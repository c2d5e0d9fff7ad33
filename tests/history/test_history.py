"""Nobody who was revoked gets in, whatever breaks: histories of real servers, judged afterwards.

`SIDECAR_HISTORY_SECONDS=60` lengthens the run of the product and adds a broken mode that shows
rarely. `SIDECAR_HISTORY_SEED` repeats a plan of faults (not the interleaving, which is the
machine's). `SIDECAR_HISTORY_SUSPENDED=1` adds a relay that stands still between choosing an epoch
and telling Redis of it: the gaps of `test_late`, which it finds within minutes. `-rP` prints seeds
and counts.
"""

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from sidecar.embedded.valkey import EmbeddedValkey
from tests.history.broken import BROKEN, RARE
from tests.history.checker import story, violations
from tests.history.core import CACHE, Mode
from tests.history.run import Run
from tests.servers import redis_running

_SECONDS: Final = float(os.environ.get("SIDECAR_HISTORY_SECONDS", "5"))
_MODES: Final = BROKEN + (RARE if "SIDECAR_HISTORY_SECONDS" in os.environ else [])
_SUSPENDED: Final = "SIDECAR_HISTORY_SUSPENDED" in os.environ
_SEED: Final = os.environ.get("SIDECAR_HISTORY_SEED")
# What happens in any run that is worth something; "change" is what was loaded ahead after one.
_BUSY: Final = (
    "from memory", "from redis", "from postgres", "published", "applied", "replayed", "change",
)  # fmt: skip
# A broken mode is caught in a second or two; it has this many seeds of this length to show itself.
_SEEDS: Final = 10
_BROKEN_SECONDS: Final = 6.0


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedValkey]:
    """A Valkey that may be killed."""
    with tempfile.TemporaryDirectory(prefix="sidecar-history-") as name:
        Path(name).chmod(0o711)
        with redis_running(Path(name)) as started:
            yield started


def _seed() -> int:
    return int(_SEED) if _SEED else random.SystemRandom().getrandbits(32)


@pytest.mark.timeout(60 + 2 * _SECONDS)
async def test_no_promise_is_broken(database: str, server: EmbeddedValkey) -> None:
    run = Run(Mode(), _seed(), database, server, suspended=_SUSPENDED)
    await run.last(_SECONDS)
    print(f"seed {run.seed}: {len(run.history)} events, {dict(sorted(run.counts.items()))}")  # noqa: T201  shown by -rP
    assert not run.found, f"seed {run.seed}\n{story(run.history, run.found[0])}"
    # The whole history again, in one go.
    assert violations(run.history, CACHE.lease_seconds) == []
    # It was no idle run.
    for what in _BUSY:
        assert run.counts[what] > 0, run.counts


@pytest.mark.parametrize("mode", _MODES, ids=[mode.name for mode in _MODES])
async def test_a_broken_mode_is_caught(mode: Mode, database: str, server: EmbeddedValkey) -> None:
    """Proof that the test above could fail."""
    found = None
    for _ in range(_SEEDS):
        run = Run(mode, _seed(), database, server)
        await run.last(_BROKEN_SECONDS)
        events, counts = len(run.history), dict(sorted(run.counts.items()))
        print(f"seed {run.seed}: {events} events, {counts}")  # noqa: T201  shown by -rP
        if run.found:
            found = story(run.history, run.found[0], seconds=0.3)
            print(found)  # noqa: T201  shown by -rP
            break
    assert found, f"not in {_SEEDS} runs"

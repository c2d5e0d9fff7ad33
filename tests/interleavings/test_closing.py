"""Closing ends the reads in the air, and those that would start because of that."""

import asyncio

from sidecar.sync.tiers import Tiers
from tests.interleavings.stage import Stage, StillLoop


async def _tell() -> Stage:
    """Two readers without a lease: the second waits for the read after the first's."""
    stage = Stage(Tiers, redis="none")
    stage.lapse()
    for _ in range(2):
        stage.come()
        await stage.settle()
    await stage.tiers.close()
    assert len(stage.stores.on_the_way) == 1, "a read was begun while closing"
    await stage.settle()
    return stage


def test_nothing_starts_while_closing() -> None:
    with asyncio.Runner(loop_factory=StillLoop) as runner:
        stage = runner.run(_tell())
    assert [reader.answers for reader in stage.readers] == [[None], [None]]
    assert not stage.tiers._tasks

"""What `sidecar doctor` finds, and how checks are run: each bounded, none in another's way."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar

Result = TypeVar("Result")
# Beyond this a check is a problem: whoever waits for this store or server would have given up.
CHECK_SECONDS: Final = 2.0


class State(StrEnum):
    """How bad it is."""

    OK = "ok"
    # It works, and something will be slower, less safe or lost some day.
    WARNING = "warning"
    # Something the product needs does not work, or a promise does not hold.
    PROBLEM = "problem"


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        area: what it belongs to: ``postgresql``, ``redis``...
        state: how bad it is.
        message: what was found, and what it means; never a secret.
        advice: what to do; empty where nothing is to be done.
    """

    area: str
    state: State
    message: str
    advice: str = ""


class Told(Exception):  # noqa: N818  it is an answer, not a fault
    """A check knows what is wrong; ends it.

    Attributes:
        finding: what.
    """

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(finding.message)


Check = Callable[[], Awaitable[list[Finding]]]


def problem(area: str, message: str, advice: str = "") -> Finding:
    """Something does not work."""
    return Finding(area, State.PROBLEM, message, advice)


def warning(area: str, message: str, advice: str = "") -> Finding:
    """Something could be better."""
    return Finding(area, State.WARNING, message, advice)


def fine(area: str, message: str) -> Finding:
    """All is well."""
    return Finding(area, State.OK, message)


async def bounded(work: Awaitable[Result], seconds: float) -> Result:
    """What `work` gives, within `seconds`.

    Not `asyncio.timeout`: a driver may take its time to be cancelled, and nobody waits for that.

    Raises:
        TimeoutError: it did not end in time.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    finally:
        task.cancel()
    if not done:
        # Whatever it still ends with was told already.
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        raise TimeoutError
    return task.result()


async def surely(area: str, work: Awaitable[list[Finding]]) -> list[Finding]:
    """What `work` finds; also when it breaks, so that it does not hinder others."""
    try:
        return await work
    except Exception as error:  # noqa: BLE001  it may be anything
        return [problem(area, f"could not be checked: {_words(error)}")]


async def examine(area: str, what: str, check: Check) -> list[Finding]:
    """What `check` finds, within a bound; its failures are findings as well.

    Args:
        area: what it belongs to.
        what: for messages: what is looked at.
        check: looks.
    """
    try:
        return await bounded(check(), CHECK_SECONDS)
    except Told as told:
        return [told.finding]
    except TimeoutError:
        return [problem(area, f"{what}: no answer within {CHECK_SECONDS:g} s", _SILENT)]
    except Exception as error:  # noqa: BLE001  one check must not hinder the others
        return [problem(area, f"{what} could not be checked: {_words(error)}")]


def _words(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__


_SILENT: Final = (
    "something between here and there drops packets (a firewall, a security group), or it hangs"
)


async def examine_each(area: str, checks: Sequence[tuple[str, Check]]) -> list[Finding]:
    """What several checks find that share a connection, one after the other.

    When one gets no answer the rest is left out: on the same connection none will come.

    Args:
        area: what they belong to.
        checks: what is looked at, and how.
    """
    found: list[Finding] = []
    for what, check in checks:
        each = await examine(area, what, check)
        found += each
        if each and each[-1].advice == _SILENT:
            break
    return found

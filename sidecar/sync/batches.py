"""Questions to a store, gathered while it is busy: a burst takes some round trips, not thousands.

Who finds the store idle asks at once and, but for whoever asks in the same turn of the loop, alone.
Whoever comes while `at_once` batches are being asked waits, and goes along with the next. Nobody
is waited for.

More may come than can be answered in time. Then working for all of them would be in time for none:
a question nobody waits for any more is not asked, and the newest are refused as soon as it shows
that their turn would come too late.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from sidecar.model.errors import StoresUnavailable

# How far the last batch moves what is known of the pace.
_WEIGHT: Final = 0.3


class Question:
    """One that waits or is being asked.

    Attributes:
        until: the loop's time after which its answer is of no use.
        is_first: whether another question follows from its answer. Those that followed and those
            that come take turns: else nobody would get to an end before everybody had begun.
        is_over: whether nothing is to be done for it any more.
    """

    __slots__ = ("batch", "is_first", "is_over", "until")

    def __init__(self, until: float, *, is_first: bool) -> None:
        self.until = until
        self.is_first = is_first
        self.is_over = False
        self.batch: Batch | None = None

    def is_wanted(self) -> bool:
        """Whether anybody still waits for it, or nobody ever did."""
        raise NotImplementedError

    def fail(self, failure: BaseException) -> None:
        """It will not be answered."""
        raise NotImplementedError

    def leave(self) -> None:
        """Its answer is not waited for any more; a batch that all have left is given up."""
        batch, self.batch = self.batch, None
        if batch is not None:
            batch.left -= 1
            if not batch.left:
                batch.task.cancel()


class Batch:
    """Some questions that are being asked.

    Attributes:
        task: asks.
        left: how many of them are still waited for.
    """

    __slots__ = ("left", "task")

    def __init__(self, task: "asyncio.Task[None]", left: int) -> None:
        self.task = task
        self.left = left


Q = TypeVar("Q", bound=Question)


class Batches(Generic[Q]):
    """Asks one store.

    Args:
        answer: asks some questions, at least one, and ends each or passes it on; what it raises
            fails those it has not.
        tasks: the running ones are in there.
        at_once: batches asked at the same time, so that a slow one does not hold up the others.
        most: questions in a batch.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Q]], Awaitable[None]],
        tasks: set[asyncio.Task[None]],
        *,
        at_once: int,
        most: int,
    ) -> None:
        self._answer = answer
        self._tasks = tasks
        self._at_once = at_once
        self._most = most
        # Those that followed from another, and those that come.
        self._waiting: tuple[deque[Q], deque[Q]] = (deque(), deque())
        self._turn = False
        self._running = 0
        self._is_beginning = False
        # Seconds from the end of a batch to that of the next, while others wait.
        self._pace = 0.0
        self._last_end: float | None = None

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting[0]) + len(self._waiting[1])

    def add(self, question: Q) -> None:
        """Ask `question` as soon as possible."""
        question.batch = None
        self._waiting[question.is_first].append(question)
        self._begin()

    def _begin(self) -> None:
        if self._is_beginning or self._running >= self._at_once or not len(self):
            return
        # It takes its questions when it runs, with those that are added until then.
        self._is_beginning = True
        self._running += 1
        task = asyncio.create_task(self._run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        self._is_beginning = False
        questions = self._take()
        self._begin()
        failure: BaseException = StoresUnavailable("the read was given up")
        batch = Batch(_current_task(), len(questions))
        for question in questions:
            question.batch = batch
        try:
            if questions:
                await self._answer(questions)
                self._answered()
        except asyncio.CancelledError:
            self._last_end = None
        except Exception as error:  # noqa: BLE001  whatever it is belongs to those who wait
            failure = error
            self._last_end = None
        finally:
            for question in questions:
                if question.batch is batch and not question.is_over:
                    question.batch = None
                    question.fail(failure)
            self._running -= 1
            self._begin()

    def _take(self) -> list[Q]:
        """The next batch, without those that nobody wants any more."""
        self._turn = not self._turn
        waiting = self._waiting[self._turn] or self._waiting[not self._turn]
        taken: list[Q] = []
        while waiting and len(taken) < self._most:
            question = waiting.popleft()
            if question.is_over:
                continue
            if question.is_wanted():
                taken.append(question)
            else:
                question.fail(StoresUnavailable("nobody waits for it any more"))
        return taken

    def _answered(self) -> None:
        """A batch has come to its end: that tells when the newest will have their turn."""
        now = asyncio.get_running_loop().time()
        if not len(self):
            self._last_end = None
            return
        if self._last_end is not None:
            taken = now - self._last_end
            self._pace += (taken - self._pace) * (_WEIGHT if self._pace else 1.0)
            self._shed(now)
        self._last_end = now

    def _shed(self, now: float) -> None:
        for waiting in reversed(self._waiting):
            while waiting and len(self) / self._most * self._pace > waiting[-1].until - now:
                question = waiting.pop()
                if not question.is_over:
                    question.fail(StoresUnavailable("more is asked than can be answered in time"))


def _current_task() -> "asyncio.Task[None]":
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  narrows
    return task

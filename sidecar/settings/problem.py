"""Problems of a configuration: where, what, and what was probably meant."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

# Keys and indexes from the root of the file: ("routes", 2, "resource").
Path: TypeAlias = tuple[str | int, ...]

# (line, column), both counted from 1.
Place: TypeAlias = tuple[int, int]


def render(path: Path) -> str:
    """The path as people write it: ``routes[2].resource``; ``""`` for the whole file."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("-", "_").isidentifier():
            text += f".{step}" if text else step
        else:
            text += f'["{step}"]'
    return text


def nearest(word: str, choices: Iterable[str]) -> str:
    """The choice that was probably meant by `word`, or ``""``."""
    by_lower_case = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(word.lower(), by_lower_case, n=1, cutoff=0.6)
    return by_lower_case[found[0]] if found else ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. Nothing in it is secret: no value of the file is quoted but names.

    Attributes:
        file: the file as it was named.
        line: from 1.
        column: from 1.
        path: ``routes[2].resource``; ``""`` for the file as a whole.
        message: what is wrong, in words.
        suggestion: what was probably meant; ``""`` when nothing is near.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        """``file:line:column: path: message (did you mean suggestion?)``."""
        where = f"{self.file}:{self.line}:{self.column}: "
        path = f"{self.path}: " if self.path else ""
        meant = f" (did you mean {self.suggestion}?)" if self.suggestion else ""
        return f"{where}{path}{self.message}{meant}"


class SettingsError(Exception):
    """The configuration is refused.

    Attributes:
        problems: all that was found, in the order of the file; never empty.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Findings:
    """Collects problems while a file is read.

    A path that was found broken is not complained about again, nor is what lies below it: one
    mistake is one message.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self._problems: list[Problem] = []
        self._broken: set[Path] = set()

    def add(self, place: Place, path: Path, message: str, suggestion: str = "") -> None:
        """Note a problem at `place`, unless `path` is known to be broken."""
        if self.is_broken(path):
            return
        self._broken.add(path)
        self.remark(place, path, message, suggestion)

    def remark(self, place: Place, path: Path, message: str, suggestion: str = "") -> None:
        """Note a problem that leaves `path` usable for further checks (e.g. an unknown key)."""
        problem = Problem(self.file, *place, render(path), message, suggestion)
        if problem not in self._problems:
            self._problems.append(problem)

    def is_broken(self, path: Path) -> bool:
        """Whether a problem was noted at `path` or at anything above it."""
        return any(path[:length] in self._broken for length in range(len(path) + 1))

    def within(self, path: Path) -> bool:
        """Whether `path`, or anything above or below it, was found broken."""
        below = any(broken[: len(path)] == path for broken in self._broken)
        return below or self.is_broken(path)

    def problems(self) -> tuple[Problem, ...]:
        """All that was noted, in the order of the file."""
        return tuple(sorted(self._problems, key=lambda found: (found.line, found.column)))

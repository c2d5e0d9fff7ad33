"""What checks need: settings' places, and somewhere to put problems."""

from collections.abc import Callable
from typing import TypeVar

from sidecar.settings.positions import Positions
from sidecar.settings.problem import Findings, Path

Value = TypeVar("Value")


class Checker:
    """Notes problems at paths of the settings.

    Args:
        positions: where the settings stand.
        findings: where problems go.
    """

    def __init__(self, positions: Positions, findings: Findings) -> None:
        self._positions = positions
        self._findings = findings

    def wrong(self, path: Path, message: str, suggestion: str = "") -> None:
        """Note that the setting at `path` is wrong."""
        self._findings.add(self._positions.locate(path), path, message, suggestion)

    def remark(self, path: Path, message: str, suggestion: str = "") -> None:
        """As `wrong`, but other checks may still look at what is above `path`."""
        if not self._findings.is_broken(path):
            self._findings.remark(self._positions.locate(path), path, message, suggestion)

    def is_sound(self, path: Path) -> bool:
        """Whether nothing at, above or below `path` was found wrong."""
        return not self._findings.within(path)

    def quote(self, path: Path, value: str) -> str:
        """`value` for a message; as written in the file when it came from elsewhere."""
        return self._positions.quote(path, value)

    def is_written(self, path: Path) -> bool:
        """Whether the value at `path` stands in the file, so that it may be shown."""
        return self._positions.is_written(path)

    def parsed(self, path: Path, text: str, parser: Callable[[str], Value]) -> Value | None:
        """What `parser` makes of `text`; None, with the problem noted, when it raises ValueError.

        Args:
            path: where `text` stands.
            text: the value.
            parser: raises ValueError in words that complete "must be ...".
        """
        if not self.is_sound(path):
            return None
        try:
            return parser(text)
        except ValueError as error:
            self.wrong(path, f"must be {error}")
            return None

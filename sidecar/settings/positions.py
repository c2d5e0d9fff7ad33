"""Where in the file each setting stands, for problems that are found after reading it."""

from sidecar.settings.problem import Path, Place


class Positions:
    """Places of settings, and how their values were written."""

    def __init__(self) -> None:
        self._places: dict[Path, Place] = {(): (1, 1)}
        self._written: dict[Path, str] = {}

    def note(self, path: Path, place: Place) -> None:
        """Remember that the setting at `path` stands at `place`."""
        self._places[path] = place

    def note_written(self, path: Path, text: str) -> None:
        """Remember that the value at `path` was written as `text`: with its references."""
        self._written[path] = text

    def locate(self, path: Path) -> Place:
        """The (line, column) of `path`, or of what is nearest above it when it was left out.

        Args:
            path: e.g. ``("routes", 2, "resource")``.
        """
        while path not in self._places:
            path = path[:-1]
        return self._places[path]

    def is_written(self, path: Path) -> bool:
        """Whether the value at `path` stands in the file itself and not behind a reference."""
        return path not in self._written

    def quote(self, path: Path, value: str) -> str:
        """`value` in double quotes for a message; a value that came from elsewhere as written.

        ``${DATABASE_HOST}`` is shown, never what it stands for (PROMISES 12).
        """
        return f'"{self._written.get(path, value)}"'

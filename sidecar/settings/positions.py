"""Where in the file each setting stands, for problems that are found after reading it."""

from sidecar.settings.problem import Path, Place


class Positions:
    """Places of settings, and how their values were written."""

    def __init__(self) -> None:
        self._places: dict[Path, Place] = {(): (1, 1)}
        # Path -> (as written, what it stands for), for values with references.
        self._written: dict[Path, tuple[str, str]] = {}

    def note(self, path: Path, place: Place) -> None:
        """Remember that the setting at `path` stands at `place`."""
        self._places[path] = place

    def note_written(self, path: Path, text: str, value: str) -> None:
        """Remember that `value` at `path` was written as `text`: with its references."""
        self._written[path] = (text, value)

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
        written, _ = self._written.get(path, (value, ""))
        return f'"{written}"'

    def as_written(self, path: Path, message: str) -> str:
        """`message`, values at or below `path` that came from elsewhere replaced as in `quote`."""
        for below, (written, value) in self._written.items():
            if below[: len(path)] == path and value:
                message = message.replace(value, written)
        return message

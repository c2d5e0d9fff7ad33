"""Parts of the configuration whose keys are not ours: a JSON document, in place or in its own file.

In place YAML's words are read as JSON's, with the same questions where they could be read in two
ways. A file holds JSON, read strictly: what it says has one meaning.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any, Final

from sidecar.settings.document import Mapping, Node, Scalar, Sequence, yaml_reading
from sidecar.settings.interpolate import UnresolvedError, has_reference, read_secret
from sidecar.settings.positions import Positions
from sidecar.settings.problem import Findings, Path

_WHOLE: Final = re.compile(r"-?(0|[1-9][0-9]{0,15})", re.ASCII)
_FRACTION: Final = re.compile(
    r"-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,16})?([eE][-+]?[0-9]{1,2})?", re.ASCII
)

# The text of a value, references expanded; None where that is impossible, which was told.
Expanded = Callable[[Scalar, Path], str | None]
_WORDS: Final = {"true": True, "false": False, "null": None}


class DocumentReader:
    """Reads JSON objects; where something is wrong, that is told and null takes its place.

    Args:
        findings: where problems go.
        positions: where places go.
        expanded: expands references.
        base: the folder that names of files start from.
    """

    def __init__(
        self, findings: Findings, positions: Positions, expanded: Expanded, base: FilePath
    ) -> None:
        self._findings = findings
        self._positions = positions
        self._expanded = expanded
        self._base = base

    def read(self, node: Node, path: Path) -> dict[str, Any]:
        """The object in place or, where there is text, in the file of that name."""
        if isinstance(node, Mapping):
            return self._object(node, path)
        if isinstance(node, Sequence):
            place = self._positions.locate(path)
            self._findings.add(place, path, "must be a section, or the name of a JSON file")
        elif has_reference(node.text):
            # What comes from a reference is never shown, and a file's name is.
            message = "name the JSON file itself, without `${...}`"
            self._findings.add(node.place, path, message)
        else:
            try:
                return document_in_file(node.text, self._base)
            except NoDocumentError as error:
                self._findings.add(node.place, path, str(error))
        return {}

    def _object(self, node: Mapping, path: Path) -> dict[str, Any]:
        found = {}
        for key, child in node.entries:
            below = (*path, key.text)
            self._positions.note(below, child.place if isinstance(child, Scalar) else key.place)
            found[key.text] = self._value(child, below)
        return found

    def _value(self, node: Node, path: Path) -> Any:
        if isinstance(node, Mapping):
            return self._object(node, path)
        if isinstance(node, Sequence):
            for at, item in enumerate(node.items):
                self._positions.note((*path, at), item.place)
            return [self._value(item, (*path, at)) for at, item in enumerate(node.items)]
        text = self._expanded(node, path)
        if text is None or not node.plain or has_reference(node.text):
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _WHOLE.fullmatch(text):
            return int(text)
        if _FRACTION.fullmatch(text):
            return float(text)
        if not (reading := yaml_reading(node)):
            return text
        message = f"YAML reads this as {reading}; put it in quotes, or write it as JSON does"
        self._findings.add(node.place, path, message)
        return None


class NoDocumentError(Exception):
    """A file holds no JSON object; the text says why, and quotes nothing of it."""


def document_in_file(name: str, base: FilePath) -> dict[str, Any]:
    """The JSON object in the file `name`.

    Args:
        name: relative to `base`.
        base: the folder of the configuration.

    Raises:
        NoDocumentError: the file cannot be read, or holds none.
    """
    try:
        text = read_secret(name, base)
    except UnresolvedError as error:
        raise NoDocumentError(error.message) from None
    try:
        found = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise NoDocumentError(f"file {name} is no JSON: {error.msg} ({where})") from None
    except RecursionError:
        raise NoDocumentError(f"file {name} is nested too deeply") from None
    except ValueError as error:
        raise NoDocumentError(f"file {name} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise NoDocumentError(f"file {name} holds no JSON object")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return made


def _refuse(_name: str) -> None:
    raise ValueError("NaN and Infinity are no numbers of JSON")

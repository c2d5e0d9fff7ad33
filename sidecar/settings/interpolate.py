"""``${NAME}`` and ``${file:path}`` inside strings, so that secrets stay out of the file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Final

from sidecar.settings.problem import nearest

# A certificate bundle has 200 KiB; a secret much less.
MAX_FILE_BYTES: Final = 262_144

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([^}]*)(\})?")
# POSIX.1-2017 section 8.1.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class UnresolvedError(Exception):
    """A reference cannot be resolved.

    Attributes:
        message: why; names the variable or file, never a value.
        suggestion: the variable that was probably meant.
    """

    def __init__(self, message: str, suggestion: str = "") -> None:
        self.message = message
        self.suggestion = suggestion
        super().__init__(message)


@dataclass(frozen=True, slots=True, repr=False)
class Sources:
    """Where references are looked up.

    Attributes:
        environ: the environment.
        base: the folder that relative file names start from: that of the configuration.
    """

    environ: Mapping[str, str]
    base: FilePath


def has_reference(text: str) -> bool:
    """Whether `text` holds anything to expand."""
    return "${" in text


def expand(text: str, sources: Sources) -> str:
    """`text` with all references replaced, once: what comes in is not expanded again.

    ``$${`` stands for ``${``.

    Raises:
        UnresolvedError: a variable is not set, a file cannot be read, or the syntax is wrong.
    """

    def replace(found: re.Match[str]) -> str:
        if found.group() == "$${":
            return "${"
        if found.group(2) is None:
            raise UnresolvedError("`${` without `}`; write `$${` for the two characters themselves")
        name = found.group(1)
        if name.startswith("file:"):
            return read_secret(name.removeprefix("file:"), sources.base)
        return _variable(name, sources.environ)

    return _REFERENCE.sub(replace, text)


def _variable(name: str, environ: Mapping[str, str]) -> str:
    if not _NAME.fullmatch(name):
        raise UnresolvedError(
            "between `${` and `}` stands the name of an environment variable, or `file:` and a path"
        )
    value = environ.get(name)
    if value is None:
        raise UnresolvedError(f"environment variable {name} is not set", nearest(name, environ))
    return value


def read_secret(name: str, base: FilePath) -> str:
    """The content of the file `name`, without white space around it.

    Raises:
        UnresolvedError: it cannot be read.
    """
    try:
        with (base / name).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a file name"
        raise UnresolvedError(f"file {name} cannot be read: {reason}") from None
    if len(content) > MAX_FILE_BYTES:
        raise UnresolvedError(f"file {name} is larger than {MAX_FILE_BYTES // 1024} KiB")
    try:
        return content.decode().strip()
    except UnicodeDecodeError:
        raise UnresolvedError(f"file {name} is not UTF-8 text") from None

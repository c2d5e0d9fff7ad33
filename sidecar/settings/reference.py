"""The reference of all settings, made from the schema: ``python -m sidecar.settings.reference``.

Words come from the docstrings and comments of `schema`, types and defaults from its structs, so
the page cannot say anything else than the code. A test holds that it is current.
"""

import ast
import inspect as python_inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import NODEFAULT, inspect

from sidecar.settings import schema
from sidecar.settings.reader import is_document, requirement

TARGET: Final = Path(__file__).parents[2] / "docs" / "configuration.md"

_HEAD: Final = """\
# Configuration

<!-- Made by `python -m sidecar.settings.reference` from sidecar/settings/schema. -->

One YAML file holds everything. [config/sidecar.yaml](../config/sidecar.yaml) shows each key with
its default; [config/examples](../config/examples) has small files to begin with.

`sidecar check-config FILE` says all that is wrong with a file, each problem with its line and
column, without connecting to anything. A file with any problem is refused as a whole.

**References.** Inside any text, `${NAME}` stands for an environment variable and `${file:path}`
for the content of a file (without white space around it; the path starts from the folder of the
configuration). A number or `true` may come from a reference, too. `$${` is `${` itself. What is
missing is a problem; what comes from a reference is never shown in a message. Keep secrets
(`token_key`, `dsn`, URLs with passwords) out of the file this way.

**YAML.** Where YAML could read a word in two ways, we ask: text that looks like a number or like
`yes`, `no`, `on`, `off` needs quotes; `true` and `false` are the only truth values; numbers are
decimal. Keys given twice, tags (`!...`) and merge keys (`<<`) are refused; anchors and
aliases work.

Units are in the names: `_seconds`, `_bytes`. A number in brackets is the status a client gets
beyond a limit.
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A struct of the schema where it stands in the file.

    Attributes:
        path: ``listen.limits``; ``""`` for the root.
        kind: the struct.
        optional: whether `null` is allowed.
    """

    path: str
    kind: inspect.StructType
    optional: bool


def reference() -> str:
    """The whole page."""
    sections = list(_sections("", inspect.type_info(schema.Root), optional=False))
    return _HEAD + "".join(_section(section) for section in sections)


def _sections(path: str, kind: inspect.Type, *, optional: bool) -> Iterator[Section]:
    """All structs below `kind`, a parent before its children."""
    if isinstance(kind, inspect.UnionType):
        for inner in kind.types:
            yield from _sections(path, inner, optional=True)
    elif isinstance(kind, inspect.DictType):
        yield from _sections(f"{path}.<name>", kind.value_type, optional=optional)
    elif isinstance(kind, inspect.VarTupleType):
        yield from _sections(f"{path}[]", kind.item_type, optional=optional)
    elif isinstance(kind, inspect.StructType):
        yield Section(path, kind, optional)
        for field in kind.fields:
            below = f"{path}.{field.name}" if path else field.name
            yield from _sections(below, field.type, optional=False)


def _section(section: Section) -> str:
    words = _words(section.kind.cls)
    title = f"`{section.path}`" if section.path else "The whole file"
    lines = [f"\n## {title}\n\n{words.summary}"]
    if section.optional:
        lines.append(" May be `null`.")
    lines.append("\n\n| key | value | default | |\n|---|---|---|---|\n")
    for field in section.kind.fields:
        cells = (
            f"`{field.name}`",
            _cell(_kind(field.type)),
            _cell(_default(field)),
            _cell(_sentence(words.fields.get(field.name, ""))),
        )
        lines.append(f"| {' | '.join(cells)} |\n")
    return "".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _kind(kind: inspect.Type) -> str:
    """The type in a few words."""
    if isinstance(kind, inspect.UnionType):
        (inner,) = (one for one in kind.types if not isinstance(one, inspect.NoneType))
        return f"{_kind(inner)}, or `null`"
    if isinstance(kind, inspect.StructType):
        return "section, see below"
    if is_document(kind):
        return "section of keys that are not ours, or the name of a JSON file with it"
    if isinstance(kind, inspect.DictType):
        if isinstance(kind.value_type, inspect.StructType):
            return "section of names, see below"
        return f"section of names, each {_kind(kind.value_type)}"
    if isinstance(kind, inspect.VarTupleType):
        if isinstance(kind.item_type, inspect.StructType):
            return "list, see below"
        words = "list of " + _kind(kind.item_type)
        return words + ", not empty" if kind.min_length else words
    if isinstance(kind, inspect.LiteralType):
        return ", ".join(f"`{value}`" for value in kind.values)
    return requirement(kind).removeprefix("must be ")


def _default(field: inspect.Field) -> str:
    if field.required:
        return "**required**"
    if field.default is NODEFAULT:
        return "its defaults"
    value: Any = field.default
    return f"`{msgspec.json.encode(value).decode()}`"


@dataclass(frozen=True, slots=True)
class _Words:
    """What a struct's author wrote: the docstring's beginning, and about each field."""

    summary: str
    fields: dict[str, str]


def _words(cls: type[Any]) -> _Words:
    """Docstring and comments of `cls`."""
    source = python_inspect.getsource(cls)
    summary, _, attributes = (python_inspect.getdoc(cls) or "").partition("Attributes:")
    fields = {}
    for found in re.finditer(r"^    (\w+): (.*(?:\n     .*)*)", attributes, re.MULTILINE):
        fields[found.group(1)] = _joined(found.group(2))
    comment: list[str] = []
    names = {
        node.lineno: node.target.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    for number, line in enumerate(source.splitlines(), start=1):
        if line.strip().startswith("#"):
            comment.append(line.strip().removeprefix("#"))
        elif number in names:
            if comment:
                name = names[number]
                fields[name] = _joined(" ".join([fields.get(name, ""), *comment]))
            comment = []
        else:
            comment = []
    return _Words(_joined(summary), fields)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _joined(text: str) -> str:
    """On one line, in Markdown."""
    return " ".join(text.replace("``", "`").split())


def main() -> None:
    """Write the page."""
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(reference(), encoding="utf-8")
    sys.stdout.write(f"wrote {TARGET}\n")


if __name__ == "__main__":
    main()

"""The file -> settings, or all that is wrong with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec import inspect

from sidecar.settings.check import check
from sidecar.settings.check_admin import with_admin_token
from sidecar.settings.checker import Checker
from sidecar.settings.document import MAX_BYTES, parse_document
from sidecar.settings.interpolate import Sources
from sidecar.settings.positions import Positions
from sidecar.settings.problem import Findings, SettingsError
from sidecar.settings.reader import Reader
from sidecar.settings.schema import Jwks, Root, Tls, Tracing, UpstreamTls

Section = TypeVar("Section", Jwks, Tls | None, UpstreamTls | None, Tracing)
_SCHEMA: Final = inspect.type_info(Root)


@dataclass(frozen=True, slots=True)
class Examination:
    """A file that was read as far as possible.

    Attributes:
        root: the settings; with stand-ins at broken paths, so to be used only when `findings` has
            no problems. None when the text is no YAML.
        positions: where each setting stands.
        findings: what is wrong.
    """

    root: Root | None
    positions: Positions
    findings: Findings


def load(path: Path, *, environ: Mapping[str, str]) -> Root:
    """The settings in the file at `path`.

    Args:
        path: the YAML file; relative file names in it start from its folder.
        environ: where ``${NAME}`` is looked up.

    Raises:
        SettingsError: with all problems at once.
        OSError: the file cannot be read.
    """
    return settled(examine_file(path, environ=environ))


def parse(
    text: str, *, environ: Mapping[str, str], file: str = "<text>", base: Path = Path()
) -> Root:
    """The settings in `text`; see `load`.

    Args:
        text: YAML.
        environ: where ``${NAME}`` is looked up.
        file: the name in problems.
        base: the folder that relative file names start from.

    Raises:
        SettingsError: with all problems at once.
    """
    return settled(examine(text, environ=environ, file=file, base=base))


def settled(examination: Examination) -> Root:
    """The settings of an examination without problems.

    Raises:
        SettingsError: with all problems, if there are any.
    """
    problems = examination.findings.problems()
    if problems or examination.root is None:
        raise SettingsError(problems)
    # The schema has the last word: what the reader let pass must satisfy msgspec as well.
    return msgspec.convert(msgspec.to_builtins(examination.root), Root)


def examine_file(path: Path, *, environ: Mapping[str, str]) -> Examination:
    """Read the file at `path` and collect all that is wrong with it.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    try:
        # A text that is too large is cut, perhaps within a character; it is refused below.
        text = content.decode("utf-8-sig", "replace" if len(content) > MAX_BYTES else "strict")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        findings = Findings(str(path))
        place = (before.count(b"\n") + 1, len(before) - before.rfind(b"\n"))
        findings.add(place, (), "the file is not UTF-8 text")
        return Examination(None, Positions(), findings)
    return examine(text, environ=environ, file=str(path), base=path.parent)


def examine(text: str, *, environ: Mapping[str, str], file: str, base: Path) -> Examination:
    """Read `text` and collect all that is wrong with it. Arguments as of `parse`."""
    findings, positions = Findings(file), Positions()
    document = parse_document(text, findings)
    if document is None:
        return Examination(None, positions, findings)
    reader = Reader(findings, positions, Sources(environ, base))
    root: Root = reader.read(document, _SCHEMA, ())
    root = with_admin_token(root, base, Checker(positions, findings))
    check(root, positions, findings)
    return Examination(_with_absolute_files(root, base), positions, findings)


def _with_absolute_files(root: Root, base: Path) -> Root:
    """Files named relative to the configuration, as absolute paths."""
    replace = msgspec.structs.replace
    issuers = tuple(
        replace(issuer, jwks=_absolute(issuer.jwks, base, ("file",)))
        for issuer in root.credentials.issuers
    )
    upstreams = {
        name: replace(each, tls=_absolute(each.tls, base, ("ca", "certificate", "key")))
        for name, each in root.upstreams.items()
    }
    tls = _absolute(root.listen.tls, base, ("certificate", "key", "client_ca"))
    return replace(
        root,
        credentials=replace(root.credentials, issuers=issuers),
        upstreams=upstreams,
        listen=replace(root.listen, tls=tls),
        tracing=_absolute(root.tracing, base, ("ca",)),
    )


def _absolute(section: Section, base: Path, names: tuple[str, ...]) -> Section:
    """`section`, where it is given, with the files under `names` absolute."""
    if section is None:
        return section
    given = {name: getattr(section, name) for name in names}
    absolute = {name: str((base / file).absolute()) for name, file in given.items() if file}
    return msgspec.structs.replace(section, **absolute)

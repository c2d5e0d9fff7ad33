"""Names of spans and attributes: each once, each told to operators."""

import re
from pathlib import Path

from sidecar.telemetry import names

DOCUMENT = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
TRACES = DOCUMENT[DOCUMENT.index("\n## Traces\n") : DOCUMENT.index("\n## Doctor\n")]
NAMES = {name: value for name, value in vars(names).items() if isinstance(value, str)}
ATTRIBUTES = {
    value
    for name, value in NAMES.items()
    if name.isupper() and re.fullmatch(r"[a-z]+(\.[a-z_]+)+", value)
}


def test_each_is_declared_once() -> None:
    told = [value for name, value in NAMES.items() if name.isupper()]
    assert len(told) == len(set(told))


def test_each_attribute_is_documented_and_no_other() -> None:
    told = set(re.findall(r"`([a-z]+(?:\.[a-z_]+)+)`", TRACES))
    settings = {each for each in told if each.startswith(("tracing.", "forwarded.", "audit."))}
    assert told - settings - {"service.instance.id"} == ATTRIBUTES

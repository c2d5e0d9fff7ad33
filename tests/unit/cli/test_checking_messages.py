"""What is wrong with message rules is told with its line, and hooks run only where they serve."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sidecar.cli.check_config import check_config
from sidecar.cli.checking import examine_all, load_or_fail
from sidecar.cli.console import Code
from sidecar.settings.problem import SettingsError

RULES = """\
    websocket:
      messages:
        protocol: json
        refused: drop
        type_pointer: kind
        rules:
          - type: orders.read
            access: route
            where:
              /a: '"b'
          - type: "*"
            permission: orders:*
"""
HOOK = """\
    websocket:
      messages:
        protocol: hook
        refused: drop
        hook: {hook}
        rules:
          - {{type: x, access: route}}
"""


def check(path: Path) -> Result:
    return CliRunner().invoke(check_config, [str(path)])


def with_rules(config: Path, rules: str) -> Path:
    config.write_text(config.read_text() + rules)
    return config


def test_each_problem_has_its_place(config: Path) -> None:
    result = check(with_rules(config, RULES))
    assert result.exit_code == 1
    told = [line.partition(" ")[0] + line.split(": ")[1] for line in result.stdout.splitlines()]
    below = "routes[0].websocket.messages"
    assert told == [
        f"{config}:17:23:{below}.type_pointer",
        f'{config}:22:19:{below}.rules[0].where["/a"]',
        f"{config}:24:25:{below}.rules[1].permission",
    ]


def test_sound_rules_are_sound(config: Path) -> None:
    rules = RULES.replace("type_pointer: kind", "id_pointer: /id").replace("'\"b'", "b")
    assert check(with_rules(config, rules.replace("orders:*", "orders:read"))).exit_code == 0


def test_a_section_that_is_broken_is_not_compiled(config: Path) -> None:
    result = check(with_rules(config, RULES.replace("protocol: json", "protocol: jason")))
    assert [line.split(": ")[1] for line in result.stdout.splitlines()] == [
        "routes[0].websocket.messages.protocol"
    ]


SCHEMA = """\
            schema: {schema}
"""


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (
            "{type: object, propertys: {a: {type: string}}}",
            (
                "rules[0].schema.propertys: no keyword of this draft of JSON Schema (names of your "
                "own begin with `x-`) (did you mean properties?)"
            ),
        ),
        (
            "{type: object, properties: {a: {type: strnig}}}",
            (
                "rules[0].schema.properties.a.type: must be one of array, boolean, integer, null, "
                "number, object, string, or a list of them (did you mean string?)"
            ),
        ),
        (
            "{$ref: 'https://example.com/order.json'}",
            'rules[0].schema["$ref"]: must begin with `#`: references lead to this document only',
        ),
        (
            "order.json",
            "rules[0].schema: file order.json cannot be read: No such file or directory",
        ),
    ],
)
def test_a_wrong_schema_has_its_place_and_a_suggestion(
    config: Path, schema: str, told: str
) -> None:
    rules = RULES.replace("type_pointer: kind", "id_pointer: /id").replace("'\"b'", "b")
    rules = rules[: rules.index('          - type: "*"')]
    with_rules(config, rules + SCHEMA.format(schema=schema))
    result = check(config)
    assert result.exit_code == 1
    (line,) = result.stdout.splitlines()
    where, _, rest = line.partition(": ")
    assert rest == f"routes[0].websocket.messages.{told}"
    # The line of `schema`, and a column within it.
    assert where.split(":")[1] == "23"
    assert int(where.split(":")[2]) >= 13


def test_a_schema_may_stand_in_a_file(config: Path) -> None:
    rules = RULES.replace("type_pointer: kind", "id_pointer: /id").replace("'\"b'", "b")
    rules = rules[: rules.index('          - type: "*"')]
    with_rules(config, rules + SCHEMA.format(schema="order.json"))
    (config.parent / "order.json").write_text('{"type": "object", "required": ["a"]}')
    assert check(config).exit_code == 0
    websocket = load_or_fail(config).routes[0].websocket
    assert websocket is not None
    assert websocket.messages is not None
    assert websocket.messages.rules[0].schema == {"type": "object", "required": ["a"]}
    (config.parent / "order.json").write_text('{"type": "object", "requird": ["a"]}')
    (problem,) = examine_all(config).findings.problems()
    assert (problem.line, problem.suggestion) == (23, "required")


def test_checking_does_not_import_a_hook(config: Path) -> None:
    with_rules(config, HOOK.format(hook="hook_that_raises:read"))
    assert check(config).exit_code == 0
    assert load_or_fail(config).routes[0].websocket is not None


@pytest.mark.parametrize(
    ("content", "words"),
    [("raise KeyError(7)", "cannot be imported: 7"), ("read = 7", "has no function read")],
)
def test_serving_does(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, words: str
) -> None:
    name = f"hook_{len(content)}"
    (tmp_path / f"{name}.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    with_rules(config, HOOK.format(hook=f"{name}:read"))
    (problem,) = examine_all(config, load_hooks=True).findings.problems()
    assert words in problem.message
    assert problem.path == "routes[0].websocket.messages.hook"
    with pytest.raises(SystemExit) as ended:
        load_or_fail(config, load_hooks=True)
    assert ended.value.code == Code.NO


def test_problems_are_errors_of_settings(config: Path) -> None:
    with_rules(config, RULES)
    findings = examine_all(config).findings
    assert isinstance(SettingsError(findings.problems()), SettingsError)
    assert len(findings.problems()) == 3

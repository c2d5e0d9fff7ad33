"""Whatever the file holds: settings or a SettingsError, and never a secret in it."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.settings.load import parse
from sidecar.settings.problem import SettingsError
from sidecar.settings.schema import Root

REFERENCE = (Path(__file__).parents[3] / "config" / "sidecar.yaml").read_text()
SECRET = "hunter2hunter2hunter2hunter2hunter2"
ENVIRON = {
    "SIDECAR_DATABASE_URL": f"postgresql://sidecar:{SECRET}@db/sidecar",
    "SIDECAR_REDIS_URL": f"redis://:{SECRET}@cache:6379",
    "SIDECAR_TOKEN_KEY": SECRET,
}
LINES = REFERENCE.splitlines(keepends=True)
# What YAML and our references treat specially, and what breaks lines.
SPECIAL = [
    *"{}[]:,&*#?|-<>=!%@`'\"\\$~ \n\t\r\0\x85\u2028\ufeff",
    "${", "$${", "${file:", "<<: ", "!!", "---", "...", ": ", "- ", "&a ", "*a", "0o7", "é",
]  # fmt: skip


def outcome(text: str) -> Root | SettingsError:
    try:
        return parse(text, environ=ENVIRON, file="f")
    except SettingsError as error:
        return error


def sound(text: str) -> None:
    """Settings, or problems with places and without the secret."""
    result = outcome(text)
    if isinstance(result, Root):
        return
    assert result.problems
    assert "hunter2" not in str(result)
    for problem in result.problems:
        assert problem.line >= 1
        assert problem.column >= 1
        assert problem.message


@given(st.text())
def test_any_text(text: str) -> None:
    sound(text)


@given(st.lists(st.sampled_from([*SPECIAL, *LINES]), max_size=40))
def test_pieces_of_yaml(pieces: list[str]) -> None:
    sound("".join(pieces))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=150)
@given(
    st.integers(0, len(REFERENCE) - 1),
    st.integers(0, 12),
    st.one_of(st.sampled_from(SPECIAL), st.text(max_size=6)),
)
def test_the_reference_with_something_replaced(start: int, length: int, new: str) -> None:
    sound(REFERENCE[:start] + new + REFERENCE[start + length :])


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(st.lists(st.integers(0, len(LINES) - 1), max_size=4), st.integers(0, len(LINES) - 1))
def test_the_reference_with_lines_gone_and_one_moved(gone: list[int], moved: int) -> None:
    lines = [line for number, line in enumerate(LINES) if number not in gone]
    lines.insert(moved % len(lines), LINES[moved])
    sound("".join(lines))


WRITTEN = (
    f"credentials: {{token_key: {SECRET}}}\n"
    f"stores:\n  postgres:\n    dsn: postgresql://u:{SECRET}@h/d\n  redis: {{url: redis://:{SECRET}@h}}\n"
)
# Nothing is put inside the secrets, and no key is made of them: `? `, or a colon behind them.
PLACES = [
    place
    for place in range(len(WRITTEN))
    if not any(WRITTEN[max(0, place - n) :].startswith(SECRET) for n in range(1, len(SECRET)))
]


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(PLACES), st.integers(0, 1), st.sampled_from([*SPECIAL, ""]))
def test_a_secret_in_the_file_itself_is_not_shown(place: int, gone: int, new: str) -> None:
    """One slip of the keyboard anywhere around it."""
    sound(WRITTEN[:place] + new + WRITTEN[place + gone :])

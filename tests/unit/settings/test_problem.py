from sidecar.settings.positions import Positions
from sidecar.settings.problem import Findings, Problem, nearest, render


def test_paths_are_written_as_people_write_them() -> None:
    assert render(()) == ""
    assert render(("routes", 2, "resource")) == "routes[2].resource"
    assert render(("upstreams", "my-app", "url")) == "upstreams.my-app.url"
    assert render(("upstreams", "a.b", "url")) == 'upstreams["a.b"].url'
    assert render(("", 0)) == '[""][0]'


def test_the_nearest_choice_ignores_case() -> None:
    assert nearest("rs256", ["RS256", "ES256"]) == "RS256"
    assert nearest("zzz", ["RS256"]) == ""


def test_a_problem_reads_as_a_line() -> None:
    assert str(Problem("f", 1, 2, "a.b", "is wrong", "c")) == (
        "f:1:2: a.b: is wrong (did you mean c?)"
    )
    assert str(Problem("f", 1, 2, "", "is wrong")) == "f:1:2: is wrong"


def test_what_is_broken_hides_what_is_below_and_not_what_is_beside() -> None:
    findings = Findings("f")
    findings.add((2, 1), ("a",), "first")
    findings.add((3, 1), ("a", "b"), "hidden")
    findings.add((1, 1), ("c",), "second")
    assert [problem.message for problem in findings.problems()] == ["second", "first"]
    assert findings.is_broken(("a", "b"))
    assert not findings.is_broken(("d",))
    assert findings.within(())
    assert not findings.within(("d",))


def test_a_remark_leaves_its_path_usable_and_is_made_once() -> None:
    findings = Findings("f")
    findings.remark((1, 1), ("a",), "unknown")
    findings.remark((1, 1), ("a",), "unknown")
    assert not findings.is_broken(("a",))
    assert len(findings.problems()) == 1


def test_what_was_left_out_is_located_at_what_is_above_it() -> None:
    positions = Positions()
    positions.note(("routes",), (9, 1))
    positions.note(("routes", 0), (10, 5))
    assert positions.locate(("routes", 0, "name")) == (10, 5)
    assert positions.locate(("routes", 7, "name")) == (9, 1)
    assert positions.locate(("cache",)) == (1, 1)


def test_a_referred_value_is_quoted_as_written() -> None:
    positions = Positions()
    positions.note_written(("a", "b"), "${SECRET}", "hunter2")
    positions.note_written(("a", "c"), "${EMPTY}", "")
    assert positions.quote(("a", "b"), "hunter2") == '"${SECRET}"'
    assert positions.quote(("a", "d"), "plain") == '"plain"'
    assert positions.as_written(("a",), "'hunter2' is bad") == "'${SECRET}' is bad"
    assert positions.as_written(("z",), "hunter2") == "hunter2"
    assert not positions.is_written(("a", "b"))

"""What is bounded: size, depth, aliases."""

import pytest

from sidecar.settings.document import MAX_NODES, Mapping, Scalar, Sequence, parse_document
from sidecar.settings.problem import Findings


def refusal(text: str) -> list[str]:
    findings = Findings("f")
    parse_document(text, findings)
    return [str(problem) for problem in findings.problems()]


def test_each_node_has_its_place() -> None:
    node = parse_document("a:\n  - b\n  - 'c'\n", Findings("f"))
    assert isinstance(node, Mapping)
    ((key, items),) = node.entries
    assert (key.text, key.place) == ("a", (1, 1))
    assert isinstance(items, Sequence)
    assert items.items == (Scalar("b", True, (2, 5)), Scalar("c", False, (3, 5)))


def test_a_scalar_does_not_show_its_text() -> None:
    assert repr(Scalar("hunter2", True, (1, 2))) == "<Scalar at (1, 2)>"


def test_aliases_that_multiply_are_refused_before_they_are_expanded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert refusal("\n".join(lines)) == [f"f:5:45: more than {MAX_NODES} values, aliases expanded"]


def test_many_plain_values_are_refused_as_well() -> None:
    assert refusal("- a\n" * MAX_NODES) == [
        f"f:{MAX_NODES}:3: more than {MAX_NODES} values, aliases expanded"
    ]


def test_an_alias_inside_of_itself_is_refused() -> None:
    assert refusal("a: &a [*a]") == ["f:1:8: a[0]: an alias (`*name`) inside of what it stands for"]


def test_an_alias_may_be_used_several_times() -> None:
    findings = Findings("f")
    node = parse_document("a: &x {b: 1}\nc: *x\nd: *x\n", findings)
    assert isinstance(node, Mapping)
    assert node.entries[1][1] is node.entries[2][1]
    assert not findings.problems()


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting_is_refused(opening: str) -> None:
    (problem,) = refusal(opening * 50_000)
    assert problem.endswith("nested deeper than 32 levels")


def test_a_large_text_is_refused_unread() -> None:
    assert refusal("é" * 600_000) == ["f:1:1: the file is larger than 1 MiB"]


def test_a_number_that_python_does_not_read_is_refused() -> None:
    assert refusal(f"%YAML 1.{'9' * 5000}\n---\na: b\n") == [
        "f:1:1: not valid YAML: a number or an escape is out of range"
    ]


def test_the_key_of_an_aliased_value_is_judged_too() -> None:
    assert refusal("a: &x b\n*x : c\n") == []
    assert refusal("a: &x [b]\n*x : c\n") == ["f:1:4: a key must be a word, not a list or section"]

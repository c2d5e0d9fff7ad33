"""The page escapes what it is given."""

from sidecar.demo.page import rendered


def test_it_names_who_is_asking() -> None:
    text = rendered("alice", "demo", "admin")
    assert "<dd>alice</dd>" in text
    assert "<dd>demo</dd>" in text
    assert "<dd>admin</dd>" in text


def test_nobody_is_said_so() -> None:
    assert "nobody" in rendered("", "", "")


def test_values_cannot_become_markup() -> None:
    text = rendered("<script>alert(1)</script>", '"><b>', "{style}")
    assert "<script>alert(1)" not in text
    assert "<b>" not in text
    assert "&lt;script&gt;" in text
    assert "<dd>{style}</dd>" in text

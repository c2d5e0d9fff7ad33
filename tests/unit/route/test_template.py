"""Templates: what may be written, and what it means."""

import pytest

from sidecar.route.template import Kind, Segment, TemplateError, check_resource, decode, parse_path


def literal(text: str) -> Segment:
    return Segment(Kind.LITERAL, text)


@pytest.mark.parametrize(
    ("template", "segments"),
    [
        ("/", (literal(""),)),
        ("/a/", (literal("a"), literal(""))),
        ("/a/{b}", (literal("a"), Segment(Kind.PARAMETER, "b"))),
        ("/{_b2*}", (Segment(Kind.TAIL, "_b2"),)),
        ("/gr%C3%B6%C3%9Fe", (literal("größe"),)),
        ("/größe", (literal("größe"),)),
        ("/a%3ab", (literal("a:b"),)),
    ],
)
def test_templates(template: str, segments: tuple[Segment, ...]) -> None:
    assert parse_path(template) == segments


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("a", "begins with"),
        ("", "begins with"),
        ("//a", "empty segment"),
        ("/a//b", "empty segment"),
        ("/{a}/{a}", "named twice"),
        ("/{a*}/b", "last segment"),
        ("/x{a}", "whole segment"),
        ("/{a", "whole segment"),
        ("/{1a}", "whole segment"),
        ("/{a.b}", "whole segment"),
        ("/a?b", "no query"),
        ("/a#b", "no query"),
        ("/a%2", "two hexadecimal"),
        ("/a%2Fb", "never match"),
        ("/a%25b", "never match"),
        ("/a;b", "never match"),
        ("/a\\b", "never match"),
        ("/a%00", "never match"),
        ("/%FF", "never match"),
        ("/a/..", "dot segments"),
        ("/%2E/a", "dot segments"),
    ],
)
def test_templates_that_can_match_nothing_are_refused(template: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        parse_path(template)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("", "1 to 1024"),
        ("x" * 1025, "1 to 1024"),
        ("a/{c}", "unknown parameter 'c' .the path has: a, b."),
        ("a/{}", "unknown parameter"),
        ("a/{a.__class__}", "unknown parameter"),
        ("a/{a!r}", "unknown parameter"),
        ("a/{a", "brace"),
        ("a/a}", "brace"),
        ("a/{{a}}", "brace"),
        ("a/*", "wildcards"),
        ("a\n", "control"),
        ("a//{a}", "empty segment"),
        ("/a", "empty segment"),
        ("a/", "empty segment"),
    ],
)
def test_resources_that_name_nothing_are_refused(template: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        check_resource(template, ("a", "b"))


def test_a_resource_may_mix_text_and_parameters() -> None:
    check_resource("things/{a}-{b}/x", ("a", "b"))


@pytest.mark.parametrize(
    ("segment", "text"),
    [
        ("a%20b", "a b"),
        ("%E2%82%AC", "€"),
        ("%C3", None),
        ("%C0%AF", None),
        ("a%2Fb", None),
        ("a%5Cb", None),
        ("a%25b", None),
        ("a%3Bb", None),
        ("a%0Ab", None),
        ("a%7Fb", None),
    ],
)
def test_decoding_has_one_reading_or_none(segment: str, text: str | None) -> None:
    assert decode(segment) == text

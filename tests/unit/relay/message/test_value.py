"""What may become a segment of a resource has one look."""

import pytest

from sidecar.relay.message.value import is_segment

# Default_Ignorable_Code_Point (DerivedCoreProperties.txt, Unicode 16), as ranges.
IGNORABLE = [
    (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5),
    (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164),
    (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
]  # fmt: skip


def test_what_nobody_sees_makes_no_other_name() -> None:
    seen = [
        hex(point)
        for first, last in IGNORABLE
        for point in range(first, last + 1)
        if is_segment(f"1{chr(point)}7") or is_segment(chr(point))
    ]
    assert seen == []


@pytest.mark.parametrize(
    "blank", ["\u2800", "\u00a0", "\u3000", "\u2003", "\U00016fe4", "\U0001d159"]
)
def test_a_blank_is_no_letter(blank: str) -> None:
    assert not is_segment(f"17{blank}")


@pytest.mark.parametrize(
    "text", ["17", "M\u00fcnchen", "\u6771\u4eac", "\u0939\u093f\u0928\u094d\u0926\u0940", "a b"]
)
def test_names_of_any_script_are_names(text: str) -> None:
    assert is_segment(text)

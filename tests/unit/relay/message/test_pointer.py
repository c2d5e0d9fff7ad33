"""Names that some readers take for each other."""

import sys
import unicodedata
from collections import defaultdict

from sidecar.relay.message.pointer import fold


def java(character: str) -> str:
    """As String.equalsIgnoreCase looks at it: simple mappings, which are one character."""
    upper = character.upper()
    upper = upper if len(upper) == 1 else character
    # Character.toLowerCase(U+0130) is i; Python knows the full mapping only.
    lower = "i" if upper == "\u0130" else upper.lower()
    return lower if len(lower) == 1 else upper


def test_names_that_any_reader_takes_for_one_fold_to_one() -> None:
    alike: dict[str, set[str]] = defaultdict(set)
    for point in range(sys.maxunicode + 1):
        character = chr(point)
        if not 0xD800 <= point < 0xE000:
            for each in (
                character.casefold(),
                java(character),
                unicodedata.normalize("NFC", character),
            ):
                alike[each].add(character)
    apart = {
        each: characters
        for each, characters in alike.items()
        if len({fold(character) for character in characters}) > 1
    }
    assert apart == {}


def test_names_that_nobody_takes_for_one_stay_apart() -> None:
    assert len({fold(each) for each in ("id", "ids", "i_d", "\u00efd", "1d", "ld", "")}) == 7

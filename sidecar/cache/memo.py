"""What follows from a key alone, remembered within a number of octets. Part of the hot path.

A dictionary, so that what is known costs a look into one. Nothing is ordered by use: where there
would be too much, all is forgotten and found out again. That suits what a few kinds of clients ask
for again and again; who invents keys has all of them found out anew now and then, and no more.
"""

from collections.abc import Hashable
from typing import TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Memo(dict[_Key, _Value]):
    """Remembers values; entries come by `keep` alone.

    Args:
        most_bytes: memory of all entries.
    """

    __slots__ = ("_most_bytes", "kept_bytes")

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self._most_bytes = most_bytes
        self.kept_bytes = 0

    def keep(self, key: _Key, value: _Value, size_bytes: int) -> None:
        """Remember `value`, which takes so much memory together with its key.

        A key that is there already is counted a second time.
        """
        if self.kept_bytes + size_bytes > self._most_bytes:
            self.clear()
            self.kept_bytes = 0
        self[key] = value
        self.kept_bytes += size_bytes

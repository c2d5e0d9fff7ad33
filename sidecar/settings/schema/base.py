"""What all sections are made of."""

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all sections."""

    # Names of settings that hold secrets: no repr shows them (PROMISES 12).
    secrets: ClassVar[frozenset[str]] = frozenset()

    def __repr__(self) -> str:
        """All settings but the secrets."""
        shown = (
            f"{name}={'***' if name in self.secrets else repr(getattr(self, name))}"
            for name in self.__struct_fields__
        )
        return f"{type(self).__name__}({', '.join(shown)})"

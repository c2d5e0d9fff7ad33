"""What the gate holds, from `limits.json`, and how a figure is judged."""

import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATH = Path(__file__).parent / "limits.json"
# The only figure that does not depend on how fast the interpreter is at what.
PROXY = "proxy"


@dataclass(frozen=True, slots=True)
class Limit:
    """How large a ratio may be.

    Attributes:
        usual: what it was when it was last set.
        tolerance: share of `usual` by which it may be more.
        what: what is measured by what.
        look: the command that shows where it goes.
    """

    name: str
    usual: float
    tolerance: float
    what: str
    look: str

    @property
    def most(self) -> float:
        return self.usual * (1 + self.tolerance)

    def holds(self, found: float) -> bool:
        return found <= self.most

    def told(self, found: float) -> str:
        """The figure in words."""
        off = found / self.usual - 1
        verdict = "holds" if self.holds(found) else "EXCEEDED"
        return (
            f"{self.name:10} {found:.3f}  usual {self.usual:.3f} ({off:+.1%}),"
            f" at most {self.most:.3f}: {verdict}"
        )

    def advice(self, found: float) -> str:
        """What to do about a figure that is too large."""
        return (
            f"{self.name}: {found / self.usual - 1:.0%} more than usual ({self.what}).\n"
            f"  Look where it goes with `.venv/bin/{self.look}`. If it is worth its price, set it"
            f" anew with `.venv/bin/python -m perf.gate --only {self.name} --write` and say why."
        )


def limits() -> dict[str, Limit]:
    """By name, in the order of the file."""
    decoded: dict[str, Any] = json.loads(PATH.read_text())
    return {name: Limit(name=name, **given) for name, given in decoded["ratios"].items()}


def is_judged(name: str) -> bool:
    """Whether a limit says anything here: interpreters differ in what they are fast at."""
    decoded: dict[str, Any] = json.loads(PATH.read_text())
    return name == PROXY or platform.python_version().startswith(decoded["python"] + ".")


def write(found: dict[str, float]) -> None:
    """Makes what was found the usual."""
    decoded: dict[str, Any] = json.loads(PATH.read_text())
    for name, value in found.items():
        decoded["ratios"][name]["usual"] = round(value, 3)
    PATH.write_text(json.dumps(decoded, indent=1) + "\n")

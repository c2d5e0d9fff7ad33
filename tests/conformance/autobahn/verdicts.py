"""Compares what the fuzzing client thinks of a server with and without the sidecar between."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

# Class of cases -> what it is about (Autobahn's own titles, shortened).
GROUPS: Final = {
    "1": "framing",
    "2": "pings and pongs",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragments",
    "6": "UTF-8",
    "7": "close",
    "9": "limits, speed",
    "10": "sizes of pieces",
    "12": "compression",
    "13": "compression, offers",
}
DIRECT: Final = "direct"
# Frames pass as they come.
RELAYED: Final = "sidecar"
# Messages are read before they pass; nothing is compressed then.
READ: Final = "sidecar that reads"
# How it goes through the sidecar -> classes of cases that make sense there.
SIDES: Final[Mapping[str, frozenset[str]]] = {
    RELAYED: frozenset(GROUPS),
    READ: frozenset(GROUPS) - {"12", "13"},
}

# Cases that may differ, each with the reason why that is meant.
MEANT: Final[Mapping[str, str]] = {}


class Outcome(StrEnum):
    """How a case through the sidecar compares."""

    SAME = "same"
    # Right through the sidecar, not right directly: we refuse what the server let pass.
    BETTER = "better"
    MEANT = "meant"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the client says of one case.

    Attributes:
        behavior: of the messages: OK, NON-STRICT, INFORMATIONAL, UNIMPLEMENTED, FAILED...
        behavior_close: of the end of the connection.
        code: the close code it got; None without any.
    """

    behavior: str
    behavior_close: str
    code: int | None

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Verdict":
        """From an entry of ``index.json``."""
        return cls(found["behavior"], found["behaviorClose"], found.get("remoteCloseCode"))

    def __str__(self) -> str:
        return f"{self.behavior}/{self.behavior_close}/{self.code}"


@dataclass(frozen=True, slots=True)
class Compared:
    """One case; `direct` or `through` is None where it did not run."""

    case: str
    outcome: Outcome
    direct: Verdict | None
    through: Verdict | None


def compare(index: Mapping[str, Mapping[str, Any]], side: str = RELAYED) -> list[Compared]:
    """Each case, in Autobahn's order. One that ran on one side only is different.

    Args:
        index: ``index.json``, by server and case.
        side: of `SIDES`.
    """
    groups = SIDES[side]
    direct, through = (
        {
            case: Verdict.of(found)
            for case, found in index.get(each, {}).items()
            if _group(case) in groups
        }
        for each in (DIRECT, side)
    )
    cases = sorted(direct.keys() | through.keys(), key=_order)
    return [
        Compared(
            case,
            _outcome(case, direct.get(case), through.get(case)),
            direct.get(case),
            through.get(case),
        )
        for case in cases
    ]


def _group(case: str) -> str:
    return case.partition(".")[0]


def _order(case: str) -> tuple[int, ...]:
    return tuple(map(int, case.split(".")))


def _outcome(case: str, direct: Verdict | None, through: Verdict | None) -> Outcome:
    if direct is None or through is None:
        return Outcome.DIFFERENT
    before = direct.behavior, direct.behavior_close
    after = through.behavior, through.behavior_close
    if before == after:
        return Outcome.SAME
    if all(now in {"OK", then} for then, now in zip(before, after, strict=True)):
        return Outcome.BETTER
    return Outcome.MEANT if case in MEANT else Outcome.DIFFERENT


def holds(compared: list[Compared]) -> bool:
    """Whether the sidecar changes no verdict but as it is meant to. Nothing compared holds not."""
    return bool(compared) and all(each.outcome is not Outcome.DIFFERENT for each in compared)


def table(compared: list[Compared]) -> Iterator[str]:
    """Lines: cases by group and outcome, then every case that is not the same."""
    yield f"{'':>3} {'':22}" + "".join(f"{each:>10}" for each in ("cases", *Outcome))
    rows: dict[str, list[Compared]] = {}
    for each in compared:
        rows.setdefault(_group(each.case), []).append(each)
    for group, members in rows.items():
        yield _row(group, GROUPS.get(group, ""), members)
    yield _row("", "all", compared)
    for each in compared:
        if each.outcome is not Outcome.SAME:
            reason = f" ({MEANT[each.case]})" if each.outcome is Outcome.MEANT else ""
            yield (
                f"{each.case} {each.outcome}: directly {each.direct}, "
                f"through the sidecar {each.through}{reason}"
            )


def _row(group: str, title: str, members: list[Compared]) -> str:
    counts = (sum(each.outcome is outcome for each in members) for outcome in Outcome)
    return f"{group:>3} {title:22}{len(members):10}" + "".join(f"{each:10}" for each in counts)

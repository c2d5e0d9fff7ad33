"""What a scenario found."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Found:
    """Figures of one scenario.

    Attributes:
        measures: name as in `thresholds.json` -> value.
        details: for the file of results.
    """

    measures: dict[str, float]
    details: dict[str, object] = field(default_factory=dict)

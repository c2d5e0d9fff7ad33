"""`audit`: where decisions are written."""

from sidecar.settings.schema.base import Positive, Settings


class Audit(Settings, frozen=True):
    """Where decisions are written, one JSON object a line.

    Attributes:
        sink: ``stdout``, ``stderr``, ``off`` or ``file:/path``.
        permits: whether permits are written too; refusals always are.
    """

    sink: str = "stdout"
    permits: bool = True
    # Lines are written together, this often.
    flush_seconds: Positive = 0.25

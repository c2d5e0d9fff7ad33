"""Collects the fields that llhttp reports, for heads of requests and of responses."""

from sidecar.model.head import NO_FIELDS, Field


class FieldCollector:
    """The fields of one head, in order and by name. Part of the hot path."""

    def __init__(self) -> None:
        self._fields: list[Field] = []
        self._first: dict[bytes, bytes] = {}
        self._repeated: dict[bytes, list[bytes]] = NO_FIELDS

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by llhttp for each field; what it raises would end the parser."""
        lower = name.lower()
        if value[-1:] <= b" ":  # llhttp leaves trailing white space (RFC 9110 section 5.5)
            value = value.rstrip(b" \t")
        self._fields.append((lower, name, value))
        first = self._first
        if lower in first:
            if self._repeated is NO_FIELDS:
                self._repeated = {}
            self._repeated.setdefault(lower, [first[lower]]).append(value)
        else:
            first[lower] = value

    def _clear(self) -> None:
        """Begin anew; what was collected stays with whoever has it."""
        self._fields = []
        self._first = {}
        self._repeated = NO_FIELDS

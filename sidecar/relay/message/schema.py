"""The JSON Schema of a message rule: compiled once, asked of the value that was decided about.

jsonschema-rs validates the very objects that `document.read_document` made, so nothing is parsed
twice and no second reader could see another message. Patterns run on an engine without
backtracking, in time linear to the text; formats are asserted; nothing is ever fetched.
"""

from collections.abc import Mapping
from typing import Any, Final

from sidecar.relay.message.call import Call
from sidecar.relay.message.pointer import MISSING, UNCLEAR, Pointer
from sidecar.relay.message.schema_checks import wrong_with_schema
from sidecar.relay.message.schema_faults import faults_within
from sidecar.relay.message.schema_validator import SchemaError, validator_of

# How long an explanation may take: operators wait for it, and nothing else does.
_TELL_SECONDS: Final = 2.0


class MessageSchema:
    """What a part of a message must look like.

    Args:
        schema: JSON Schema; draft 2020-12 unless its `$schema` says another.
        at: the part, from where the protocol's pointers begin.
        default: what counts where the message leaves that part out, or gives null for an object
            that may be left out; `MISSING` where it may not.

    Raises:
        SchemaError: it is none, would ask nothing, leads out of the document, or the package that
            validates is not installed.
    """

    __slots__ = ("_at", "_default", "_schema", "_validator")

    def __init__(self, schema: Mapping[str, Any], at: Pointer, default: Any = MISSING) -> None:
        if problems := tuple(wrong_with_schema(schema)):
            raise SchemaError(problems)
        self._schema = schema
        self._validator = validator_of(schema)
        self._at = at
        self._default = default

    def accepts(self, call: Call) -> bool:
        """Whether `call` is as the schema says; what is no JSON (of a hook) is not.

        Raises:
            UnreadableError: the part can be read in two ways.
        """
        value = self._value(call)
        if value is MISSING or value is UNCLEAR:
            return False
        try:
            return self._validator.is_valid(value)
        except ValueError:
            return False

    def faults(self, call: Call) -> tuple[str, ...]:
        """Where `call` is not as the schema says, and by which keyword; never what stands there.

        Each is a JSON pointer, from where the protocol's pointers begin, and a keyword:
        ``/params/lines/3: minimum``. Where that cannot be told in two seconds, as with schemas that
        refer to themselves from several alternatives, it says so.

        Raises:
            UnreadableError: the part can be read in two ways.
        """
        value = self._value(call)
        if value is MISSING or value is UNCLEAR:
            return (f"{self._at.text}: {'missing' if value is MISSING else 'unclear'}",)
        try:
            if self._validator.is_valid(value):
                return ()
        except ValueError:
            return (f"{self._at.text}: no JSON",)
        found = faults_within(self._schema, value, _TELL_SECONDS)
        if found is None:
            return (f"{self._at.text}: where in it would take too long to tell",)
        return tuple(self._at.text + each for each in found)

    def _value(self, call: Call) -> Any:
        value = MISSING if call.fields is MISSING else self._at.find(call.fields)
        if value is MISSING or (value is None and self._default is not MISSING):
            return self._default
        return value

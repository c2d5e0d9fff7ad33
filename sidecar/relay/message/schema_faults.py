"""Where a value is not as a schema says, asked in a process that can be ended.

The validator says yes or no at once. To say where, it follows all alternatives to their ends: two
to the power of the depth for a schema that refers to itself from two of them. A hundred octets took
minutes and gigabytes, where nothing of ours interrupts it.
"""

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from math import ceil
from typing import Any, Final

from sidecar.relay.message.schema_places import pointer_of
from sidecar.relay.message.schema_validator import validator_of

# Of one message; who mends these asks again.
_MOST_FAULTS: Final = 5
_MOST_BYTES: Final = 512 << 20
_PROGRAM: Final = (
    "import sys; seconds, *sys.path[:] = sys.argv[1:]; "
    "from sidecar.relay.message.schema_faults import answer; answer(int(seconds))"
)


def faults_within(schema: Mapping[str, Any], value: Any, seconds: float) -> tuple[str, ...] | None:
    """The first places and keywords: ``/lines/3: minimum``; None where nobody can tell.

    Args:
        schema: that a validator was made of.
        value: that it refused.
        seconds: the process is ended after that, without an answer.
    """
    # By itself it ends a little later: whoever waits for it may be killed.
    program = [sys.executable, "-c", _PROGRAM, str(ceil(seconds) + 1), *sys.path]
    try:
        question = json.dumps([dict(schema), value])
        asked = subprocess.run(
            program, input=question, capture_output=True, text=True, timeout=seconds, check=True
        )
        return tuple(json.loads(asked.stdout))
    except (OSError, subprocess.SubprocessError, TypeError):
        return None


def answer(seconds: int) -> None:
    """The program of that process: from standard input to standard output."""
    _end_at(seconds)
    schema, value = json.load(sys.stdin)
    found = dict.fromkeys(_told(schema, value))
    sys.stdout.write(json.dumps(list(islice(found, _MOST_FAULTS))))


def _end_at(seconds: int) -> None:
    """End this process after that, or when it grows: what there is to tell fills gigabytes."""
    signal.alarm(seconds)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))


def _told(schema: Mapping[str, Any], value: Any) -> Iterator[str]:
    for each in validator_of(schema).iter_errors(value):
        yield f"{pointer_of(tuple(each.instance_path))}: {each.kind.name}"

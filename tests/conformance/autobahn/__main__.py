"""``python -m tests.conformance.autobahn [CASES ...]``: Autobahn's fuzzing client.

It talks to an echo server directly, through a sidecar whose route has no message rules, and through
one whose route reads each message; its verdicts have to be the same. CASES are patterns such as
``7.*``; left out, it is all classes.

Ends with 0 where they are the same, 1 where any is different, 2 where the suite could not be
installed or run, and 3 where no Python 2.7 is found, which it needs.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.conformance.autobahn import interpreter
from tests.conformance.autobahn.servers import READING, echo, sidecar
from tests.conformance.autobahn.suite import Suite, SuiteError
from tests.conformance.autobahn.verdicts import (
    DIRECT,
    GROUPS,
    READ,
    RELAYED,
    SIDES,
    Compared,
    compare,
    holds,
    table,
)

FOLDER: Final = Path(__file__).parents[3] / ".cache" / "autobahn"
SAME, DIFFERENT, BROKEN, NO_INTERPRETER = range(4)
# Compressed messages take the longest: half an hour on two slow cores.
_SECONDS: Final = 3600.0


def run(suite: Suite, cases: list[str]) -> dict[str, list[Compared]]:
    """Install, start, fuzz, compare: by how it went through the sidecar."""
    if suite.install():
        sys.stdout.write(f"installed the suite in {FOLDER}\n")
    with tempfile.TemporaryDirectory(prefix="sidecar-autobahn-") as name:
        folder = Path(name)
        # The stores may run as somebody else, who has to get to their files.
        folder.chmod(0o711)
        with echo(folder) as upstream, sidecar(folder, upstream) as proxy:
            servers = {
                DIRECT: f"ws://127.0.0.1:{upstream}",
                RELAYED: f"ws://127.0.0.1:{proxy}",
                READ: f"ws://127.0.0.1:{proxy}{READING}",
            }
            but = {
                side: [f"{group}.*" for group in GROUPS if group not in groups]
                for side, groups in SIDES.items()
            }
            index = suite.fuzz(servers, cases, _SECONDS, but)
            return {side: compare(index, side) for side in SIDES}


def main(arguments: list[str]) -> int:
    """Run; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.autobahn")
    parser.add_argument("cases", nargs="*", default=[f"{group}.*" for group in GROUPS])
    options = parser.parse_args(arguments)
    found = interpreter.find()
    if found is None:
        sys.stderr.write(f"{interpreter.NEEDED}\n")
        return NO_INTERPRETER
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        compared = run(Suite(FOLDER, found), options.cases)
    except SuiteError as error:
        sys.stderr.write(f"{error}\n")
        return BROKEN
    for side, each in compared.items():
        for line in (side, *table(each), ""):
            sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"each case in full: {FOLDER / 'reports' / 'index.html'}\n")
    # Of classes that make no sense on some side alone, nothing is compared there.
    asked = [each for each in compared.values() if each]
    return SAME if asked and all(map(holds, asked)) else DIFFERENT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

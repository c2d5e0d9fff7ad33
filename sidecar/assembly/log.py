"""The log of a process of ours: lines on stderr."""

import logging
import sys


def begin_log(name: str = "") -> None:
    """Log to stderr from now on.

    Args:
        name: of this process, where there are several.
    """
    who = f" {name}:" if name else ""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format=f"%(asctime)s %(levelname)s{who} %(message)s",
        # A fork begins with its parent's.
        force=bool(name),
    )

"""Becomes a server: changes the user, asks to die with the parent, and executes the program.

Run as a program of its own (``python -I launch.py IDENTITY SIGNAL PARENT PROGRAM...``) because
code between fork and exec in a process with threads may deadlock. Imports nothing of ours.
"""

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
# Any id but 0 satisfies PostgreSQL; inside the namespace it is the only one.
INNER_ID = 1000


def become(identity: str) -> None:
    """Takes on `identity`: ``same``, ``namespace``, or a numeric user id (its group alike).

    A namespace of one id (user_namespaces(7)) maps us to another id inside while files still see
    the old one: PostgreSQL refuses to run as root, and reads what root can.
    """
    if identity == "namespace":
        outer_user, outer_group = os.geteuid(), os.getegid()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWUSER) != 0:
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER)")
        # The group map may only be written once setgroups is given up.
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{INNER_ID} {outer_user} 1")
        Path("/proc/self/gid_map").write_text(f"{INNER_ID} {outer_group} 1")
    elif identity != "same":
        os.setgroups([])
        os.setgid(int(identity))
        os.setuid(int(identity))


def main(arguments: list[str]) -> None:
    """Never returns: `arguments` are identity, signal, id of the parent, then the program."""
    identity, signal, parent, *program = arguments
    become(identity)
    # After the change of user, which clears it (prctl(2)).
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal))
    # It may have ended before we asked.
    if os.getppid() != int(parent):
        sys.exit("the parent has ended")
    os.execv(program[0], program)  # noqa: S606  no shell: that is the point


if __name__ == "__main__":
    main(sys.argv[1:])

"""What is read from the machine: CPU time of a tree of processes, cores, free ports."""

import os
import platform
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

_GIVEN = os.sched_getaffinity(0)

# The proxy alone on the first, everything else on the second.
PROXY_CORE, LOAD_CORE = 0, 1


def cpu_seconds(pid: int) -> float:
    """User + system time of a process and its living descendants (proc(5), fields 14 and 15)."""
    return sum(_own_cpu_seconds(each) for each in tree(pid))


def tree(pid: int) -> list[int]:
    """The process and all its living descendants."""
    found = [pid]
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            children = (thread / "children").read_text()
        except FileNotFoundError:  # the thread ended meanwhile
            continue
        for child in children.split():
            found += tree(int(child))
    return found


def _own_cpu_seconds(pid: int) -> float:
    # The command's name is in brackets and may hold anything: count from the last one.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / _TICKS_PER_SECOND


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its living descendants (proc(5), statm, field 2)."""
    pages = (int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in tree(pid))
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def cores() -> int:
    """How many cores this process was given."""
    return len(_GIVEN)


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """What is started inside stays on one core: children inherit it, threads too."""
    before = os.sched_getaffinity(0)
    if core in _GIVEN:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def allow_descriptors() -> None:
    """As many open files as we may have: children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def described() -> dict[str, str]:
    """Machine and kernel, for the results."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": str(cores()),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }

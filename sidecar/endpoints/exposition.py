"""Joins what several workers count into one exposition, each sample labelled with its worker."""

from collections.abc import Mapping


def merge(expositions: Mapping[str, str]) -> str:
    """One exposition in the Prometheus text format.

    Args:
        expositions: by name of the worker, as written by us: no sample has a label ``worker`` yet.
    """
    families: dict[str, list[str]] = {}
    heads: dict[str, list[str]] = {}
    for worker, text in expositions.items():
        family = ""
        for line in text.splitlines():
            if line.startswith("#"):
                family = line.split(" ", 3)[2]
                head = heads.setdefault(family, [])
                if line not in head:
                    head.append(line)
            elif line:
                families.setdefault(family, []).append(_labelled(line, worker))
    lines = [line for name, head in heads.items() for line in (*head, *families.get(name, ()))]
    return "".join(line + "\n" for line in lines)


def _labelled(sample: str, worker: str) -> str:
    name, brace, rest = sample.partition("{")
    if brace:
        return f'{name}{{worker="{worker}",{rest}'
    name, _, value = sample.partition(" ")
    return f'{name}{{worker="{worker}"}} {value}'

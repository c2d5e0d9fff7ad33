"""``python -m perf.websockets.growth``: messages as connections and rules grow.

CPU for each message, one direction, in interleaved rounds. Of connections most rest: 64 (or all, if
they are fewer) send a message after each answer. Rules are for JSON messages and about single
resources; the one that fits is the last. How long reading and judging a message takes is what the
sidecar itself counts (`sidecar_websocket_judging_seconds`).
"""

import asyncio
import json
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import uvloop

from perf import machine
from perf.growth.grown import Growth, gathered
from perf.peers.peer import AbsentError
from perf.plots import drawing
from perf.plots import growth as plot
from perf.report import RESULTS
from perf.websockets.echo import Client, connected
from perf.websockets.proxies import (
    PAYLOAD,
    Sidecar,
    nginx_relay,
    plain_relay,
    sidecar,
    upstream,
)

NUMBERS_OF_CONNECTIONS = (10, 1_000, 5_000)
NUMBERS_OF_RULES = (0, 1, 10, 100, 1_000)
_CHATTING = 64
_SETTLE_SECONDS = 0.3
_BUCKET = re.compile(
    r'^sidecar_websocket_judging_seconds_bucket\{.*le="([^"]+)"\} (\S+)', re.MULTILINE
)
_TOTAL = re.compile(
    r"^sidecar_websocket_judging_seconds_(sum|count)(?:\{.*\})? (\S+)", re.MULTILINE
)
_PATH = RESULTS.parent / "websockets.json"


@dataclass(frozen=True, slots=True)
class Proxy:
    """Who relays."""

    port: int
    pid: int
    token: str = ""


def messages_section(rules: int) -> dict[str, Any]:
    """Settings of a route with so many rules, of which the last is about our messages."""
    if not rules:
        return {}
    other = {"permission": "orders:read", "resource": "orders/{order}"}
    fields = {"fields": {"order": "/order/id"}}
    every = [{"type": f"orders.read{number}", **other, **fields} for number in range(rules - 1)]
    every.append({"type": "orders.read", **other, **fields})
    return {"messages": {"protocol": "json", "refused": "close", "rules": every}}


def message(order: int) -> bytes:
    """A message about an order, as long as all messages are."""
    text = f'{{"type": "orders.read", "order": {{"id": {order}}}, "note": ""}}'
    return text.replace('""', f'"{"x" * (PAYLOAD - len(text))}"').encode()


async def chatted(proxy: Proxy, path: str, connections: int, seconds: float) -> tuple[float, float]:
    """CPU microseconds for a message (one direction), and messages a second."""
    chatting = min(_CHATTING, connections)
    resting = await connected(
        proxy.port, connections - chatting, PAYLOAD, proxy.token, path, message(0)
    )
    talking = await connected(proxy.port, chatting, PAYLOAD, proxy.token, path, message(7))
    for client in talking:
        client.chat()
    await asyncio.sleep(_SETTLE_SECONDS)
    said, spent, begun = _sum(talking), machine.cpu_seconds(proxy.pid), time.monotonic()
    await asyncio.sleep(seconds)
    said = 2 * (_sum(talking) - said)
    spent, lasted = machine.cpu_seconds(proxy.pid) - spent, time.monotonic() - begun
    closed = sum(client.closed.is_set() for client in resting + talking)
    for client in resting + talking:
        client.is_chatting = False
        client.transport.abort()
    await asyncio.sleep(_SETTLE_SECONDS)
    if closed or not said:
        raise RuntimeError(f"{closed} of {connections} WebSockets were closed, {said} messages")
    return spent / said * 1e6, said / lasted


def _sum(clients: list[Client]) -> int:
    return sum(client.messages for client in clients)


@dataclass(frozen=True, slots=True)
class Judging:
    """What the sidecar counted of judging messages.

    Attributes:
        buckets: upper bound in seconds -> how many took no longer.
        seconds: all together.
        count: how many.
    """

    buckets: Mapping[float, float]
    seconds: float
    count: float

    def since(self, before: "Judging") -> "Judging":
        """What was counted meanwhile."""
        buckets = {each: self.buckets[each] - before.buckets[each] for each in self.buckets}
        return Judging(buckets, self.seconds - before.seconds, self.count - before.count)

    def told(self) -> str:
        """In words."""
        mean = self.seconds / self.count * 1e6
        within = ", ".join(
            f"{self.buckets[each] / self.count:.3%} within {each * 1e3:g} ms"
            for each in (0.0005, 0.001)
        )
        p99 = next(each for each in sorted(self.buckets) if self.buckets[each] >= self.count * 0.99)
        return f"{self.count:.0f} messages: mean {mean:.1f} us, p99 <= {p99 * 1e3:g} ms ({within})"


def judging(admin: int) -> Judging:
    """As its metrics say it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics") as answer:
        return parsed(answer.read().decode())


def parsed(text: str) -> Judging:
    """Out of metrics in the text format."""
    totals = {name: float(value) for name, value in _TOTAL.findall(text)}
    buckets = {float(bound): float(value) for bound, value in _BUCKET.findall(text)}
    return Judging(buckets, totals["sum"], totals["count"])


Tell = Callable[[str], None]


def connections(proxies: Mapping[str, Proxy], rounds: int, seconds: float, tell: Tell) -> Growth:
    """Most of them rest."""
    found = []
    for number in range(rounds):
        taken = {}
        for size in NUMBERS_OF_CONNECTIONS:
            for name, proxy in proxies.items():
                cpu_us, rate = uvloop.run(chatted(proxy, "/ws", size, seconds))
                taken[name, size] = cpu_us
                tell(_line(number, rounds, name, size, cpu_us, rate))
        found.append(taken)
    return Growth(
        "WebSockets", "open WebSockets", "CPU µs/message", gathered(found), is_relative=False
    )


def rules(
    proxies: Mapping[str, Proxy], ours: Sidecar, rounds: int, seconds: float, tell: Tell
) -> tuple[Growth, dict[str, str]]:
    """As many connections as talk; what was counted of judging, by number of rules."""
    found, told = [], {}
    counted: dict[int, list[Judging]] = {size: [] for size in NUMBERS_OF_RULES if size}
    for number in range(rounds):
        taken = {}
        for size in NUMBERS_OF_RULES:
            before = judging(ours.admin)
            way = chatted(proxies["sidecar"], path_of(size), _CHATTING, seconds)
            cpu_us, rate = uvloop.run(way)
            taken["sidecar", size] = cpu_us
            tell(_line(number, rounds, "rules", size, cpu_us, rate))
            if size:
                counted[size].append(judging(ours.admin).since(before))
        for name, proxy in proxies.items():
            if name != "sidecar":
                cpu_us, rate = uvloop.run(chatted(proxy, "/ws", _CHATTING, seconds))
                taken[f"{name}, none", 0] = cpu_us
                tell(_line(number, rounds, name, 0, cpu_us, rate))
        found.append(taken)
    for size, each in counted.items():
        worst = max(each, key=lambda one: one.seconds / one.count)
        told[str(size)] = worst.told()
    return Growth(
        "Message rules", "rules", "CPU µs/message", gathered(found), is_relative=False
    ), told


def path_of(size: int) -> str:
    """The route with so many rules."""
    return f"/ws{size}" if size else "/ws"


def _line(number: int, rounds: int, name: str, size: int, cpu_us: float, rate: float) -> str:
    return (
        f"round {number + 1}/{rounds}  {name:8} {size:5}"
        f" {cpu_us:6.2f} µs CPU/message {rate:7.0f} messages/s"
    )


@contextmanager
def _proxies(folder: Path, tell: Tell) -> Iterator[tuple[Sidecar, dict[str, Proxy]]]:
    """Those that can be had here."""
    sections = {path_of(size): messages_section(size) for size in NUMBERS_OF_RULES if size}
    with upstream() as application, ExitStack() as stack:
        ours = stack.enter_context(sidecar(folder / "sidecar", application, sections))
        proxies = {"sidecar": Proxy(ours.port, ours.pid, ours.token)}
        for name, started in (("nginx", nginx_relay), ("aiohttp", plain_relay)):
            try:
                proxies[name] = Proxy(*stack.enter_context(started(folder, application)))
            except AbsentError as absent:
                tell(f"{name} is left out: {absent}")
        yield ours, proxies


def _tell(text: str) -> None:
    print(text, flush=True)


@click.command()
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=2.0, show_default=True, type=click.FloatRange(0.1))
def main(rounds: int, seconds: float) -> None:
    """Measure what a message costs as connections and rules grow."""
    machine.allow_descriptors()
    with tempfile.TemporaryDirectory(prefix="perf-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        try:
            with _proxies(folder, _tell) as (ours, proxies), machine.pinned(machine.LOAD_CORE):
                grown, judged = rules(proxies, ours, rounds, seconds, _tell)
                found = [grown, connections(proxies, rounds, seconds, _tell)]
        except RuntimeError as error:
            sys.exit(f"perf.websockets.growth: {error}")
    for each in found:
        _tell(f"\n{each.table()}")
    for size, text in judged.items():
        _tell(f"reading and judging with {size} rules, the slowest round: {text}")
    content = {
        "machine": machine.described(),
        "judging": judged,
        "by nginx": _by_nginx(grown),
        "grown": [each.as_dict() for each in found],
    }
    _PATH.parent.mkdir(exist_ok=True)
    _PATH.write_text(json.dumps(content, indent=1) + "\n")
    _tell(f"written to {_PATH}")
    draw = partial(plot.draw, [each.panel() for each in found], _PATH.parent, "websockets")
    drawing.told(draw, _tell)


def _by_nginx(grown: Growth) -> dict[str, float]:
    """Sidecar's medians by that of nginx without rules."""
    base = grown.lines.get("nginx, none")
    if base is None:
        return {}
    return {
        str(size): median(found) / median(base[0]) for size, found in grown.lines["sidecar"].items()
    }


if __name__ == "__main__":
    main()

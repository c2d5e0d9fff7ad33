"""Users who each have a connection and a token, do now this and now that, and think in between.

Every answer is checked; the first that is not the expected one ends the run. Only who arrives may
be told to come again (503 with Retry-After), and how often that was is told. Prints ``ready`` when
all are connected, and at the end one line of JSON.
"""

import argparse
import asyncio
import json
import random
import sys
from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import aiohttp
import uvloop

from perf.load.introduction import TRIES
from perf.load.varied import CHUNK, CHUNKS
from perf.workload import BODY, HOST, PATH

# From one answer to the next request, uniform: 500 requests a second of a thousand users leave the
# load's core, which the stores share, idle half of the time.
THINK_SECONDS = (1.0, 3.0)
# Users arrive over this time, not in one burst; only then the time that counts begins.
RAMP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that users do.

    Attributes:
        share: of all that they do, in percent.
        expected: status of the answer.
        length: of the answer's body, where it is known.
        who: whose token; ``nobody`` sends none.
    """

    name: str
    share: int
    method: str
    target: str
    expected: int
    length: int | None = None
    body_bytes: int = 0
    chunked: bool = False
    who: str = "user"


DEEDS = (
    Deed("list", 53, "GET", PATH, 200, len(BODY)),
    Deed("read one", 15, "GET", f"{PATH}/42", 200),
    Deed("read none", 3, "GET", f"{PATH}/41", 404),
    Deed("create", 10, "POST", PATH, 201, body_bytes=1_500),
    Deed("upload", 4, "POST", PATH, 201, body_bytes=48_000, chunked=True),
    Deed("export", 5, "GET", f"{PATH}?export=all", 200, len(CHUNK) * CHUNKS),
    Deed("look", 4, "HEAD", PATH, 200, 0),
    Deed("come without token", 3, "GET", PATH, 401, who="nobody"),
    Deed("come without permission", 3, "GET", PATH, 403, who="outsider"),
)


class Crowd:
    """What all users share."""

    def __init__(self, origin: str, outsider: str) -> None:
        self.origin = origin
        self.outsider = outsider
        self.latencies = array("d")
        self.done: Counter[str] = Counter()
        self.connected = 0
        self.came_again = 0
        self.all_connected = asyncio.Event()
        self.ending = asyncio.Event()


async def use(crowd: Crowd, number: int, token: str, users: int) -> None:
    """One user, from connecting to the end.

    Raises:
        RuntimeError: an answer was not the expected one.
        aiohttp.ClientError: there was none.
    """
    chance = random.Random(number)
    await asyncio.sleep(RAMP_SECONDS * number / users)
    connector = aiohttp.TCPConnector(limit=1, keepalive_timeout=60.0)
    timeout = aiohttp.ClientTimeout(total=30.0)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        await arrive(crowd, session, token)
        await do(crowd, session, DEEDS[0], token)
        crowd.connected += 1
        if crowd.connected == users:
            crowd.all_connected.set()
        while not crowd.ending.is_set():
            await asyncio.sleep(chance.uniform(*THINK_SECONDS))
            deed = chance.choices(DEEDS, [each.share for each in DEEDS])[0]
            await do(crowd, session, deed, token)


async def arrive(crowd: Crowd, session: aiohttp.ClientSession, token: str) -> None:
    """The first request with a token that the proxy does not know: told to retry, it does."""
    for _ in range(TRIES):
        fields = {"Host": HOST, "Authorization": f"Bearer {token}"}
        async with session.get(crowd.origin + PATH, headers=fields) as answer:
            await answer.read()
        if answer.status != 503:
            break
        crowd.came_again += 1
        await asyncio.sleep(float(answer.headers["Retry-After"]))


async def do(crowd: Crowd, session: aiohttp.ClientSession, deed: Deed, token: str) -> None:
    """One request, its answer checked."""
    fields = {"Host": HOST}
    if deed.who != "nobody":
        presented = crowd.outsider if deed.who == "outsider" else token
        fields["Authorization"] = f"Bearer {presented}"
    body: bytes | aiohttp.Payload | None = b"x" * deed.body_bytes if deed.body_bytes else None
    began = perf_counter()
    async with session.request(
        deed.method, crowd.origin + deed.target, headers=fields, data=body,
        chunked=True if deed.chunked else None, allow_redirects=False,
    ) as answer:  # fmt: skip
        content = await answer.read()
    crowd.latencies.append(perf_counter() - began)
    crowd.done[deed.name] += 1
    wrong = answer.status != deed.expected
    wrong |= deed.length is not None and len(content) != deed.length
    if deed.expected == 201:
        wrong |= content != json.dumps({"bytes": deed.body_bytes}).encode()
    if wrong:
        when = "after all had arrived" if crowd.all_connected.is_set() else "while all arrived"
        raise RuntimeError(f"{deed.name}, {when}: {answer.status}, {content[:200]!r}")


async def run(origin: str, tokens: list[str], outsider: str, seconds: float) -> dict[str, object]:
    """All users, for so long after the last has connected.

    Returns:
        How often what was done, and latencies in milliseconds.
    """
    crowd = Crowd(origin, outsider)
    async with aiohttp.ClientSession() as session:
        await arrive(crowd, session, outsider)
    async with asyncio.TaskGroup() as group:
        for number, token in enumerate(tokens):
            group.create_task(use(crowd, number, token, len(tokens)))
        await crowd.all_connected.wait()
        print("ready", flush=True)
        await asyncio.sleep(seconds)
        crowd.ending.set()
    ordered = sorted(crowd.latencies)
    return {
        "users": len(tokens),
        "requests": len(ordered),
        "came_again": crowd.came_again,
        "p50_ms": ordered[len(ordered) // 2] * 1e3,
        "p99_ms": ordered[len(ordered) * 99 // 100] * 1e3,
        "done": dict(crowd.done),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--tokens", type=Path, required=True, help="JSON: the outsider's first")
    given = parser.parse_args()
    outsider, *tokens = json.loads(given.tokens.read_text())
    try:
        told = uvloop.run(run(f"http://127.0.0.1:{given.port}", tokens, outsider, given.seconds))
    except* (RuntimeError, aiohttp.ClientError, TimeoutError, OSError) as group:
        sys.exit(f"users: {len(group.exceptions)} failed, the first: {group.exceptions[0]!r}")
    print(json.dumps(told))


if __name__ == "__main__":
    main()

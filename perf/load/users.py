"""Users who each have a connection and a token, do now this and now that, and think in between.

Every fourth has a WebSocket beside it, over which messages go and come back, one of ten of them
about something that this user may not do. Every answer is checked; the first that is not the
expected one ends the run. Who is told to come again (503 with Retry-After, over a WebSocket 1013)
does, and how often that was is told, apart for those who arrive. Prints ``ready`` when all are
connected, and at the end one line of JSON.
"""

import argparse
import asyncio
import itertools
import json
import random
import sys
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import aiohttp
import uvloop

from perf.load.introduction import TRIES
from perf.load.varied import CHUNK, CHUNKS, FEED
from perf.workload import BODY, HOST, PATH

# From one answer to the next request, uniform: 500 requests a second of a thousand users leave the
# load's core, which the stores share, idle half of the time.
THINK_SECONDS = (1.0, 3.0)
# Users arrive over this time, not in one burst; only then the time that counts begins.
RAMP_SECONDS = 10.0
# One of so many users also has a WebSocket, and one of so many messages must be refused.
ONE_WITH_WEBSOCKET_OF = 4
ONE_REFUSED_OF = 10
_SHARE_OF_MESSAGES = 0.5
_ANSWER_SECONDS = 30.0
# RFC 6455 has no such code; the registry of codes does.
_TRY_AGAIN_LATER = 1013


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

# The proxy is asked about the outsider before all others come.
_OUTSIDERS = next(deed for deed in DEEDS if deed.who == "outsider")


class LaterError(Exception):
    """Told to come again.

    Attributes:
        seconds: not before.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Crowd:
    """What all users share."""

    def __init__(self, origin: str, outsider: str) -> None:
        self.origin = origin
        self.outsider = outsider
        self.latencies = array("d")
        self.done: Counter[str] = Counter()
        self.connected = 0
        self.told_to_come_again: Counter[str] = Counter()
        self.all_connected = asyncio.Event()
        self.ending = asyncio.Event()

    @property
    def phase(self) -> str:
        """When something happens."""
        return "after all had arrived" if self.all_connected.is_set() else "while all arrived"

    def did(self, name: str, began: float) -> None:
        """Counts one thing that is done."""
        self.latencies.append(perf_counter() - began)
        self.done[name] += 1


async def use(crowd: Crowd, number: int, token: str, users: int) -> None:
    """One user, from connecting to the end.

    Raises:
        RuntimeError: an answer was not the expected one.
        aiohttp.ClientError: there was none.
    """
    chance = random.Random(number)
    await asyncio.sleep(RAMP_SECONDS * number / users)
    # A WebSocket takes one for itself.
    connector = aiohttp.TCPConnector(limit=2, keepalive_timeout=60.0)
    timeout = aiohttp.ClientTimeout(total=30.0)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        await do(crowd, session, DEEDS[0], token)
        crowd.connected += 1
        if crowd.connected == users:
            crowd.all_connected.set()
        talk = Talk(crowd, session, token) if number % ONE_WITH_WEBSOCKET_OF == 0 else None
        while not crowd.ending.is_set():
            await asyncio.sleep(chance.uniform(*THINK_SECONDS))
            if talk is not None and chance.random() < _SHARE_OF_MESSAGES:
                await talk.say(is_refused=chance.randrange(ONE_REFUSED_OF) == 0)
            else:
                deed = chance.choices(DEEDS, [each.share for each in DEEDS])[0]
                await do(crowd, session, deed, token)
        if talk is not None:
            await talk.end()


async def patiently(crowd: Crowd, attempt: Callable[[], Awaitable[None]]) -> None:
    """Does something, again if told so.

    Raises:
        RuntimeError: too often.
    """
    for _ in range(TRIES):
        try:
            await attempt()
        except LaterError as later:
            crowd.told_to_come_again[crowd.phase] += 1
            await asyncio.sleep(later.seconds)
        else:
            return
    raise RuntimeError(f"told to come again {TRIES} times in a row")


class Talk:
    """A WebSocket, opened when there is something to say."""

    def __init__(self, crowd: Crowd, session: aiohttp.ClientSession, token: str) -> None:
        self._crowd = crowd
        self._session = session
        self._fields = {"Host": HOST, "Authorization": f"Bearer {token}"}
        self._numbers = itertools.count()
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    async def say(self, *, is_refused: bool) -> None:
        """Sends a message and waits for what comes back.

        Raises:
            RuntimeError: it was not the expected one, or the WebSocket was closed.
        """
        number, kind = next(self._numbers), "orders.cancel" if is_refused else "orders.read"
        sent = json.dumps({"type": kind, "id": number, "note": "as agreed on the phone"})

        async def attempt() -> None:
            socket = await self._open()
            began = perf_counter()
            await socket.send_str(sent)
            got = await socket.receive(_ANSWER_SECONDS)
            if got.type is aiohttp.WSMsgType.CLOSE and got.data == _TRY_AGAIN_LATER:
                self._socket = None
                raise LaterError(1.0)
            self._crowd.did(f"send {kind}", began)
            expected = {"type": "error", "re": number, "code": "not-granted"}
            if got.type is not aiohttp.WSMsgType.TEXT or (
                json.loads(got.data) != expected if is_refused else got.data != sent
            ):
                raise RuntimeError(f"send {kind} over a WebSocket, {self._crowd.phase}: {got!r}")

        await patiently(self._crowd, attempt)

    async def _open(self) -> aiohttp.ClientWebSocketResponse:
        if self._socket is None:
            try:
                self._socket = await self._session.ws_connect(
                    self._crowd.origin + FEED, headers=self._fields
                )
            except aiohttp.WSServerHandshakeError as error:
                if error.status == 503 and error.headers and "Retry-After" in error.headers:
                    raise LaterError(float(error.headers["Retry-After"])) from None
                # Its text would hold the token.
                raise RuntimeError(f"a handshake, {self._crowd.phase}: {error.status}") from None
            self._crowd.done["open a WebSocket"] += 1
        return self._socket

    async def end(self) -> None:
        """As a page that is left."""
        if self._socket is not None:
            await self._socket.close()


async def do(crowd: Crowd, session: aiohttp.ClientSession, deed: Deed, token: str) -> None:
    """One request, its answer checked.

    Raises:
        RuntimeError: it was another one.
    """
    fields = {"Host": HOST}
    if deed.who != "nobody":
        presented = crowd.outsider if deed.who == "outsider" else token
        fields["Authorization"] = f"Bearer {presented}"
    body: bytes | aiohttp.Payload | None = b"x" * deed.body_bytes if deed.body_bytes else None

    async def attempt() -> None:
        began = perf_counter()
        async with session.request(
            deed.method, crowd.origin + deed.target, headers=fields, data=body,
            chunked=True if deed.chunked else None, allow_redirects=False,
        ) as answer:  # fmt: skip
            content = await answer.read()
        if answer.status == 503 and "Retry-After" in answer.headers:
            raise LaterError(float(answer.headers["Retry-After"]))
        crowd.did(deed.name, began)
        wrong = answer.status != deed.expected
        wrong |= deed.length is not None and len(content) != deed.length
        if deed.expected == 201:
            wrong |= content != json.dumps({"bytes": deed.body_bytes}).encode()
        if wrong:
            raise RuntimeError(f"{deed.name}, {crowd.phase}: {answer.status}, {content[:200]!r}")

    await patiently(crowd, attempt)


async def run(origin: str, tokens: list[str], outsider: str, seconds: float) -> dict[str, object]:
    """All users, for so long after the last has connected.

    Returns:
        How often what was done, and latencies in milliseconds.
    """
    crowd = Crowd(origin, outsider)
    async with aiohttp.ClientSession() as session:
        await do(crowd, session, _OUTSIDERS, outsider)
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
        "told_to_come_again": dict(crowd.told_to_come_again),
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

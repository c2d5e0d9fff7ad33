"""Six oracles for whatever a client may send; see `Bench.faults_of`.

A *recording upstream* keeps every byte and reads it with a reader of its own; between two cases
lies a canary: a request with a number of its own, whose answer must carry that number.
"""

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, cast

from sidecar.authenticate.opaque import check, digest, mint, signing_key
from sidecar.cache.memory import Memory
from sidecar.model.facts import RoleGraph, Session, User
from sidecar.model.need import RolesNeed, SessionNeed, UserNeed
from sidecar.settings.schema import Cache, Deadlines, Listen, RouteRule
from tests.conformance.strict import (
    AmbiguousError,
    Message,
    differs_from_h11,
    h11_agrees,
    take_request,
    take_response,
)
from tests.plane import CREDENTIALS, Plane, running_plane

# Bounded, not timed: a case that takes this long hangs.
HANG_SECONDS: Final = 10.0
TOKEN: Final = mint(3, b"conformance".ljust(32, b"."), signing_key(CREDENTIALS.token_key))
ROUTES: Final = (
    RouteRule(path="/private/{rest*}", access="authenticated"),
    RouteRule(path="/{rest*}", access="public"),
    RouteRule(path="/", access="public"),
)
LISTEN: Final = Listen(deadlines=Deadlines(linger_seconds=5.0))
_REQUEST_ID: Final = re.compile(rb"[0-9a-f]{24}")
_IDENTITY: Final = {b"x-auth-user": b"alice", b"x-auth-tenant": b"acme"}
# What a server might take for one of the fields that only we may write.
_OURS: Final = frozenset(
    (
        b"x-request-id", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto",
        b"forwarded", b"x-real-ip", b"host", b"remote-user", b"transfer-encoding",
        b"content-length",
    )
)  # fmt: skip
_HOP_BY_HOP: Final = frozenset(
    (
        b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade",
        b"http2-settings", b"proxy-authorization", b"proxy-authenticate",
    )
)  # fmt: skip

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Case:
    """What a client sends.

    Attributes:
        name: what is odd about it.
        octets: all of it.
        statuses: the final statuses that it gets, in order; a refusal ends the connection.
        why: who reads it how, or which clause decides.
        bodies: what the upstream gets as bodies; None: whatever it is.
        targets: what the upstream gets as targets; None: whatever it is.
        closes: whether the last answer ends the connection; by default a refusal does.
    """

    name: str
    octets: bytes
    statuses: tuple[int, ...]
    why: str
    bodies: tuple[bytes, ...] | None = None
    targets: tuple[bytes, ...] | None = None
    closes: bool | None = None

    @property
    def goes_on(self) -> bool:
        """Whether another request on the same connection is answered."""
        if self.closes is None:
            return bool(self.statuses) and self.statuses[-1] < 300
        return not self.closes


class Recorder(asyncio.Protocol):
    """One connection of the recording upstream: answers each request with its own number."""

    def __init__(self, seen: list[Message], faults: list[str]) -> None:
        self._seen = seen
        self._faults = faults
        self._octets = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._octets += data
        try:
            while (taken := take_request(self._octets)) is not None:
                message, self._octets = taken
                self._seen.append(message)
                self._answer(message)
        except AmbiguousError as error:
            self._faults.append(f"the upstream got {error}: {self._octets[:300]!r}")
            self._octets = b""
            cast("asyncio.Transport", self._transport).abort()

    def _answer(self, message: Message) -> None:
        number = b",".join(message.values(b"x-nonce")) or b"none"
        body = b"" if message.start[0] == b"HEAD" else b"<" + number + b">"
        cast("asyncio.Transport", self._transport).write(
            b"HTTP/1.1 200 OK\r\nX-Nonce: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (number, len(number) + 2, body)
        )


def whole(octets: bytes) -> Iterable[bytes]:
    """Fed in one piece."""
    return [octets]


def byte_by_byte(octets: bytes) -> Iterable[bytes]:
    """Fed badly."""
    return (octets[at : at + 1] for at in range(len(octets)))


def at_line_ends(octets: bytes) -> Iterable[bytes]:
    """Cut between CR and LF and after each LF."""
    return re.findall(rb"[^\r\n]+|\r|\n", octets)


CUTS: Final = {"whole": whole, "byte by byte": byte_by_byte, "at line ends": at_line_ends}
Cut = Callable[[bytes], Iterable[bytes]]


@dataclass
class Bench:
    """A data plane before a recording upstream."""

    plane: Plane
    seen: list[Message] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    async def faults_of(self, case: Case, cut: Cut) -> list[str]:
        """What is wrong with how `case` was treated, of six things (nothing, it is hoped).

        a) what reaches the upstream is read in one way, by us and by h11; b) each request there
        carries our proof exactly once; c) the client gets no more successes than there were
        requests upstream; d) it gets the statuses the case says, and an error is no success;
        e) nothing hangs; f) a canary behind it, on this and on another connection, is answered
        with its own number, or not at all where the connection had to end.
        """
        number = b"canary-%d" % next(_numbers)
        canary = b"GET /canary HTTP/1.1\r\nHost: c\r\nX-Nonce: %b\r\n" % number
        last = canary + b"Connection: close\r\n\r\n"
        self.seen.clear()
        self.faults.clear()
        try:
            received = await self._converse(
                case.octets + last, cut, ends=case.closes or not case.statuses
            )
            methods = [message.start[0] for message in self.seen]
            answers = _read_answers(received, methods)
            faults = self._judge(case, answers, number)
            self.seen.clear()
            other = b"canary-%d" % next(_numbers)
            received = await self._converse(canary.replace(number, other) + b"\r\n", whole)
            if [each.values(b"x-nonce") for each in _read_answers(received, [])] != [[other]]:
                faults.append(f"another connection got {received!r}")
        except TimeoutError:
            return ["it hangs"]
        except AmbiguousError as error:
            return [f"the client got {error}"]
        return [*faults, *self.faults]

    async def surprises_of(self, octets: bytes, cut: Cut) -> list[str]:
        """What is wrong with how any `octets` were treated, of what needs no expectation.

        Beside the oracles (a, b, c, e, f) of `faults_of`: where h11 reads a first request at all,
        what the upstream got first is that request. (h11 reads more than we do, never less.)
        """
        self.seen.clear()
        self.faults.clear()
        try:
            received = await self._converse(octets, cut, ends=True)
            answers = _read_answers(received, [])
            faults = [fault for message in self.seen for fault in _wrong_with(message)]
            successes = sum(int(answer.start[0]) < 300 for answer in answers)
            if successes > len(self.seen):
                faults.append(f"{successes} successes for {len(self.seen)} requests upstream")
            if answers and int(answers[0].start[0]) < 300:
                faults += differs_from_h11(octets, self.seen[0])
            number = b"canary-%d" % next(_numbers)
            canary = b"GET /canary HTTP/1.1\r\nHost: c\r\nX-Nonce: %b\r\n\r\n" % number
            received = await self._converse(canary, whole, ends=True)
            if [each.values(b"x-nonce") for each in _read_answers(received, [])] != [[number]]:
                faults.append(f"another connection got {received!r}")
        except TimeoutError:
            return ["it hangs"]
        except AmbiguousError as error:
            return [f"the client got {error}"]
        return [*faults, *self.faults]

    def _judge(self, case: Case, answers: list[Message], number: bytes) -> list[str]:
        faults = []
        got = tuple(int(answer.start[0]) for answer in answers)
        expected = (*case.statuses, 200) if case.goes_on else case.statuses
        if got != expected:
            faults.append(f"the client got {got}, not {expected}")
        if sum(status < 300 for status in got) > len(self.seen):
            faults.append(f"{got} for {len(self.seen)} request(s) upstream")
        successes = sum(status < 300 for status in expected)
        if len(self.seen) != successes:
            faults.append(f"{len(self.seen)} requests upstream for {successes} successes")
        if case.goes_on and (not answers or answers[-1].values(b"x-nonce") != [number]):
            faults.append("the canary got the answer of another")
        if case.bodies is not None:
            bodies = tuple(message.body for message in self.seen[: len(case.bodies)])
            if bodies != case.bodies:
                faults.append(f"the upstream got bodies {bodies!r}")
        if case.targets is not None:
            targets = tuple(message.start[1] for message in self.seen[: len(case.targets)])
            if targets != case.targets:
                faults.append(f"the upstream got targets {targets!r}")
        for message in self.seen:
            faults += _wrong_with(message)
        return faults

    async def _converse(self, octets: bytes, cut: Cut, *, ends: bool = True) -> bytes:
        """Send `octets` in pieces; all that comes back until the end."""
        async with asyncio.timeout(HANG_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.plane.port)
            try:
                for piece in cut(octets):
                    if writer.transport.is_closing():
                        break
                    writer.write(piece)
                    if len(piece) < len(octets):
                        await asyncio.sleep(0)
                if ends and not writer.transport.is_closing():
                    writer.write_eof()
                return await reader.read(-1)
            except ConnectionError:
                return b""
            finally:
                writer.close()


def _read_answers(received: bytes, methods: list[bytes]) -> list[Message]:
    answers: list[Message] = []
    queue = iter(methods)
    while received:
        taken = take_response(received, next(queue, b"GET"))
        if taken is None:
            raise AmbiguousError(f"half a response: {received!r}")
        message, received = taken
        answers.append(message)
    return answers


def _wrong_with(message: Message) -> list[str]:
    """Oracles a and b for one request that reached the upstream."""
    faults = []
    if not h11_agrees(message):
        faults.append(f"h11 reads otherwise: {message.octets!r}")
    private = message.start[1].startswith(b"/private/")
    expected = {**_IDENTITY} if private else {}
    for name, value in message.fields:
        folded = re.sub(rb"[^a-z0-9]", b"-", name)
        if folded.startswith((b"x-auth-user", b"x-auth-tenant", b"x-auth-roles")):
            if expected.pop(name, None) != value:
                faults.append(f"{name!r}: {value!r} reached the upstream")
        elif folded != name and (folded in _OURS or folded in _HOP_BY_HOP):
            faults.append(f"a variant {name!r} of ours reached the upstream")
        if name in _HOP_BY_HOP:
            faults.append(f"{name!r} is not forwarded")
    if expected:
        faults.append(f"{list(expected)} is missing")
    faults += [
        f"{len(message.values(name))} times {name!r}"
        for name in (b"x-request-id", b"x-forwarded-for", b"x-forwarded-proto", b"host")
        if len(message.values(name)) != 1
    ]
    if not all(_REQUEST_ID.fullmatch(value) for value in message.values(b"x-request-id")):
        faults.append("a request id that is not ours")
    if message.values(b"x-forwarded-for") != [b"127.0.0.1"]:
        faults.append(f"X-Forwarded-For {message.values(b'x-forwarded-for')!r}")
    return faults


def _memory() -> Memory:
    """Alice is signed in."""
    memory = Memory(Cache(), jitter=lambda: 0.5)
    memory.lease_all(1e18)
    shard = check(TOKEN, signing_key(CREDENTIALS.token_key))
    assert shard is not None
    session = Session(version=1, id="s", tenant="acme", subject="alice", expires_at=1e12)
    memory.put(SessionNeed(digest(TOKEN), shard), session, 0.0)
    memory.put(UserNeed("acme", "alice"), User(version=1, tenant="acme", subject="alice"), 0.0)
    memory.put(RolesNeed("acme"), RoleGraph(version=1, tenant="acme"), 0.0)
    return memory


@contextlib.asynccontextmanager
async def bench(listen: Listen = LISTEN) -> AsyncIterator[Bench]:
    """A bench, ready."""
    seen: list[Message] = []
    faults: list[str] = []
    loop = asyncio.get_running_loop()
    upstream = await loop.create_server(lambda: Recorder(seen, faults), "127.0.0.1", 0)
    port = upstream.sockets[0].getsockname()[1]
    try:
        async with running_plane(
            f"http://127.0.0.1:{port}", listen=listen, routes=ROUTES, memory=_memory()
        ) as plane:
            yield Bench(plane, seen, faults)
    finally:
        upstream.close()

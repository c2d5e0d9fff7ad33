"""A session between two transports that only remember; decisions are real, stores are a dict."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, cast

from sidecar.authorize.permit import Permit
from sidecar.clock import Sweeper, instant, wall
from sidecar.decide import decide
from sidecar.forward.switching import Handed
from sidecar.listen.budget import Budget
from sidecar.model.decision import Denial, Missing
from sidecar.model.head import RequestHead, Upgrade
from sidecar.model.need import ABSENT, Found, Need, UserNeed
from sidecar.model.peer import Peer
from sidecar.model.reason import Reason
from sidecar.parse.response import ResponseHead
from sidecar.relay.gate import Gate
from sidecar.relay.handshake import accept_key
from sidecar.relay.lives import Lives
from sidecar.relay.opening import Relay
from sidecar.relay.reviewing import Asker
from sidecar.relay.session import Session
from sidecar.settings.schema import Deadlines
from tests.cases.world import World, build, head_of, present

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ANN = UserNeed("acme", "ann")


class FakeTransport(asyncio.Transport):
    """Remembers; nothing is ever lost by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: Any = None
        self.written: list[bytes] = []
        self.is_paused = False
        self.ending = ""
        self.unsent = 0
        self.taken = 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert (high, low) == (65_536, None)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write(self, data: Any) -> None:
        assert not self.ending, "nothing is written to who is gone"
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return bool(self.ending)

    def pause_reading(self) -> None:
        assert not self.is_paused
        self.is_paused = True

    def resume_reading(self) -> None:
        assert self.is_paused
        self.is_paused = False

    def close(self) -> None:
        self.ending = self.ending or "closed"

    def abort(self) -> None:
        self.ending = "reset"

    def take(self) -> bytes:
        """What was written since the last time."""
        octets = b"".join(self.written)
        self.written.clear()
        return octets

    def feed(self, octets: bytes) -> None:
        self.protocol.data_received(octets)

    def lose(self) -> None:
        self.ending = self.ending or "lost"
        self.protocol.connection_lost(None)


@dataclass
class Exchange:
    """What a session begins as."""

    head: RequestHead
    permit: Permit | None
    peer: Peer = field(default_factory=lambda: Peer("127.0.0.1", "http", is_trusted=False))
    request_id: bytes = b"r1"
    trace: bytes = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02"


@dataclass
class Decisions:
    """Decides from memory, and loads from a dict; `refusal` instead, where there is one."""

    world: World
    refusal: Denial | None = None
    settled: int = 0
    loads: int = 0
    asked_for: list[Missing] = field(default_factory=list)
    waits_for: asyncio.Event | None = None

    def peek(self, asker: Asker, /) -> Permit | Denial | Missing:
        return decide(asker.head, wall(), instant(), self.world.snapshot, scheme="http")

    async def settle(self, asker: Asker, /) -> Permit | Denial:
        self.settled += 1
        if self.waits_for is not None:
            await self.waits_for.wait()
        if self.refusal is not None:
            return self.refusal
        loaded: dict[Need, Found | Denial] = {}
        while True:
            verdict = decide(
                asker.head, wall(), instant(), self.world.snapshot, loaded, scheme="http"
            )
            if not isinstance(verdict, Missing):
                return verdict
            self.loads += 1
            for need in verdict.needs:
                loaded[need] = self.world.facts.get(need, ABSENT)
                self.world.snapshot.memory.put(need, loaded[need], instant())

    async def facts(self, missing: Missing, /) -> Mapping[Need, Found | Denial]:
        self.asked_for.append(missing)
        if self.waits_for is not None:
            await self.waits_for.wait()
        return {need: self.world.facts.get(need, ABSENT) for need in missing.needs}


class Stage:
    """One session.

    Args:
        websocket: settings of its route.
        gate: judges messages; None for no rules.
        expires_in: seconds until its token ends.
    """

    def __init__(
        self,
        websocket: dict[str, Any] | None = None,
        gate: Gate | None = None,
        expires_in: float = 1000.0,
        access: str = "authenticated",
    ) -> None:
        route: dict[str, Any] = {"path": "/ws", "websocket": websocket or {}}
        route |= {"access": access} if access != "permission" else {"permission": "it:read"}
        if gate is not None:
            route["websocket"] = route["websocket"] | {
                "messages": {"protocol": "json", "rules": [{"type": "x", "access": "route"}]}
            }
        self.world = build(
            {
                "routes": [route],
                "tenants": {
                    "acme": {
                        "roles": {"reader": {"rules": ["allow it:read"]}},
                        "users": {"ann": {"roles": ["reader"]}},
                    }
                },
            }
        )
        self.memory = self.world.snapshot.memory
        self.memory.lease_all(instant() + 1000)
        credential = {"token": {"sub": "ann", "exp": int(wall() + expires_in)}}
        fields = () if access == "public" else present(self.world, credential)
        self.head = head_of("GET", "/ws", fields=fields)
        self.head.upgrade = Upgrade(KEY)
        self.head.authority, self.head.minor = b"", 1
        self.sweeper = Sweeper()
        self.decides = Decisions(self.world)
        self.ended: list[Session] = []
        self.resets: list[FakeTransport] = []
        self.lost = 0
        self.budget = Budget(1_000_000)
        self.lives = Lives(
            self.memory,
            self.world.credentials,
            self.decides,
            lease_seconds=1.5,
            sweeper=self.sweeper,
        )
        self.relay = Relay(
            self.lives,
            deadlines=Deadlines(),
            most=10,
            parameters=frozenset(),
            gate_of=(lambda _permit, _subprotocol: gate) if gate is not None else None,
            reset=lambda transport: transport.abort(),
            backlog=lambda transport: (transport.taken, transport.unsent),  # type: ignore[attr-defined] # FakeTransport
            budget=self.budget,
            ended=self.ended.append,
            sweeper=self.sweeper,
        )
        self.clock = 100.0
        self.relay.now = lambda: self.clock  # type: ignore[misc] # the clock of the test
        self.client, self.upstream = FakeTransport(), FakeTransport()

    async def opened(
        self, early: bytes = b"", said: bytes = b"", *, is_stalled: bool = False
    ) -> Self:
        """Shake hands."""
        verdict = await self.decides.settle(cast("Asker", Exchange(self.head, None)))
        assert isinstance(verdict, Permit), verdict
        self.exchange = Exchange(self.head, verdict)
        fields: dict[bytes, bytes] = {
            b"connection": b"Upgrade",
            b"upgrade": b"websocket",
            b"sec-websocket-accept": accept_key(KEY),
        }
        answer = ResponseHead(101, 1)
        answer.set_fields(fields.items())
        assert self.relay.accept(self.exchange, answer) is not None
        self.relay.begin(
            self.exchange,
            answer,
            Handed(self.client, early, self._gone, is_stalled),
            Handed(self.upstream, said, self._gone),
        )
        [self.session] = self.relay._sessions
        return self

    def _gone(self) -> None:
        self.lost += 1

    def forward(self, seconds: float) -> None:
        """Time passes, and the sweeper looks."""
        self.clock += seconds
        if self.session.alarms.deadline <= self.clock:
            self.session.alarms.expire()

    async def turns(self, until: Callable[[], bool] = lambda: False) -> None:
        """Let the loop turn some times, or until `until` holds."""
        for _ in range(50):
            if until():
                return
            await asyncio.sleep(0)


def unavailable() -> Denial:
    return Denial(Reason.STORES_UNAVAILABLE)

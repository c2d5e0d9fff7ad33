"""The server: aiohttp's runner and sites around our own connections."""

import asyncio
import heapq
import socket
from collections.abc import Callable
from typing import Any, Final, NoReturn, Protocol

from aiohttp import web

from sidecar.authenticate.certificate import read_certificate
from sidecar.clock import Sweeper
from sidecar.forward.exchange import Exchange
from sidecar.forward.forwarder import Forwarder
from sidecar.forward.tls import Material
from sidecar.listen.budget import Budget
from sidecar.listen.downstream import Downstream
from sidecar.listen.trust import TrustedPeers, plain_address
from sidecar.model.certificate import ClientCertificate
from sidecar.model.peer import Peer
from sidecar.parse.proxy_protocol import Origin
from sidecar.parse.request import RequestReader
from sidecar.settings.schema import Listen

# For the answers to what had to be cut off.
_LAST_WORDS_SECONDS: Final = 0.5
# Of the time to end: WebSockets are closed one by one, so that not all come back at once; the last
# of them still have time to answer.
_SPREAD: Final = 0.7
# Of the places, one in so many is kept free as far as there are connections at rest: more than are
# accepted in one turn of the loop.
_SPARE: Final = 64
# Where all are busy, looking through them for each that comes would keep them waiting.
_LOOK_AGAIN_SECONDS: Final = 0.5


class Relays(Protocol):
    """Connections that are no longer HTTP: they end with the others."""

    def drain(self, seconds: float) -> None:
        """End all, one after the other, within this time."""

    def cut(self) -> None:
        """End all that are left, now."""

    def retire_certified(self) -> None:
        """Other authorities are believed now: end those of certificates."""


class SidecarServer(web.Server):
    """Makes a `Downstream` for each client connection and knows them all.

    aiohttp gives listening on TCP, unix sockets and inherited sockets, and the order of ending;
    not one of its request handlers is ever made.

    Args:
        settings: limits and deadlines.
        forwarder: what exchanges share.
        trusted: whose X-Forwarded-* is believed.
        begin: starts the life of a request (`pipeline`).
        sweeper: looks at the deadlines of connections.

    Attributes:
        most_connections: open ones; lowered where there are not descriptors for so many.
        refused_connections: closed at once because there were too many.
        belief: how often those who vouch for clients were replaced by others.
        is_accepting: whether clients can connect; set by whoever opens the listener.
        relays: connections that were given away; None where none can be.
        is_leaving: whether nobody should be sent here any more (`leaving`).
        hurry: set when what is in flight is not to be waited for.
    """

    def __init__(
        self,
        *,
        settings: Listen,
        forwarder: Forwarder,
        trusted: TrustedPeers,
        begin: Callable[[Exchange], None],
        sweeper: Sweeper,
    ) -> None:
        super().__init__(_never_called)
        self.limits: Final = settings.limits
        self.deadlines: Final = settings.deadlines
        self.forwarder: Final = forwarder
        self.begin: Final = begin
        self.reader: Final = RequestReader(
            target_bytes=settings.limits.target_bytes, most_fields=settings.limits.fields
        )
        self.now: Final = asyncio.get_running_loop().time
        self.budget: Final = Budget(settings.limits.buffered_bytes)
        self.most_connections = settings.limits.connections
        self.refused_connections = 0
        self.belief = 0
        self.is_accepting = False
        self.relays: Relays | None = None
        self.is_leaving = False
        self.hurry = asyncio.Event()
        self._trusted = trusted
        self._sweeper = sweeper
        self._downstreams: set[Downstream] = set()
        self._expected: set[Downstream] = set()
        self._look_at = 0.0
        self._empty = asyncio.Event()
        self._empty.set()

    def __call__(self) -> Any:
        """A protocol for a new connection (asyncio's protocol factory)."""
        return Downstream(self)

    def expect(self) -> Downstream:
        """A protocol that takes a place from now on, although its handshake is yet to come.

        Whoever asks for it tells `release` where the handshake fails.
        """
        downstream = Downstream(self)
        self._expected.add(downstream)
        return downstream

    def is_expected(self, downstream: Downstream) -> bool:
        """Whether its connection is not made yet."""
        return downstream in self._expected

    def is_full(self) -> bool:
        """Whether there are as many connections as there may be; then those at rest make room."""
        full = len(self._downstreams) + len(self._expected) >= self.most_connections
        if full:
            self._end_resting()
        return full

    @property
    def is_draining(self) -> bool:
        """Whether we are ending: no connection is kept for another request."""
        return self.forwarder.is_draining

    @property
    def open_connections(self) -> int:
        """Client connections now open."""
        return len(self._downstreams)

    def admit(self, downstream: Downstream) -> bool:
        """A connection was made; False when there are too many."""
        if len(self._downstreams) >= self.most_connections:
            self.refused_connections += 1
        self._expected.discard(downstream)
        self._downstreams.add(downstream)
        self._empty.clear()
        self._sweeper.watch(downstream)
        if self._is_nearly_full():
            self._end_resting()
        return len(self._downstreams) <= self.most_connections

    def _is_nearly_full(self) -> bool:
        spare = max(1, self.most_connections // _SPARE)
        return len(self._downstreams) + len(self._expected) > self.most_connections - spare

    def _end_resting(self) -> None:
        """Make room for those who have something to ask: whoever rested longest has to go.

        Some at once, because all are looked at. They keep their places until they are gone, so that
        there are never more connections than there may be.
        """
        now = self.now()
        if now < self._look_at:
            return
        count = max(1, self.most_connections // _SPARE // 2)
        resting = [each for each in self._downstreams if each.is_resting]
        for each in heapq.nsmallest(count, resting, key=lambda one: one.deadline):
            each.drain()
        if len(resting) < count:
            self._look_at = now + _LOOK_AGAIN_SECONDS

    def release(self, downstream: Downstream) -> None:
        """A connection is gone, or will not come."""
        self._expected.discard(downstream)
        self.budget.forget(downstream)
        self._downstreams.discard(downstream)
        self._sweeper.forget(downstream)
        if not self._downstreams:
            self._empty.set()

    def peer_of(self, transport: asyncio.Transport, origin: Origin | None) -> Peer | None:
        """Who is at the other end; None where the connection was reset before it was accepted.

        What a load balancer says of its client is all that counts then: the fields that the
        client itself sends are believed if *it* is a trusted proxy. Where it names nobody (LOCAL: a
        health check of its own; UNKNOWN: it does not know), its address stands for the client, and
        its trust does not: what anybody wrote would have come through unread.
        """
        scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        certificate = _certificate_of(transport)
        address = _address_of(transport) if origin is None or not origin.address else origin.address
        if not address:
            return None
        # A unix socket of the load balancer's machine is none of ours.
        is_ours = origin is None or origin.address not in {"", "unix"}
        is_trusted = is_ours and self._trusted.includes(address)
        return Peer(address, scheme, is_trusted=is_trusted, certificate=certificate)

    def certificates_changed(self, before: Material, after: Material) -> None:
        """Files of TLS changed. Where others vouch for clients now, those of before have to go."""
        if before.authorities == after.authorities:
            return
        self.belief += 1
        for downstream in list(self._downstreams):
            downstream.retire_certified()
        if self.relays is not None:
            self.relays.retire_certified()

    # -- aiohttp's order of ending: sites stop, then these two ------------------------------

    def pre_shutdown(self) -> None:
        """Connections at rest end now, others with their response."""
        self.forwarder.is_draining = True
        for downstream in list(self._downstreams):
            downstream.drain()
        if self.relays is not None:
            self.relays.drain(_SPREAD * self.deadlines.drain_seconds)

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - aiohttp's signature
        """Wait for what is in flight, at most `timeout` seconds; then break it off."""
        waits = [asyncio.create_task(each.wait()) for each in (self._empty, self.hurry)]
        try:
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
        if not self._empty.is_set():
            await self._cut()

    async def _cut(self) -> None:
        for downstream in list(self._downstreams):
            downstream.cut()
        if self.relays is not None:
            self.relays.cut()
        try:
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await self._empty.wait()
        except TimeoutError:
            for downstream in list(self._downstreams):
                downstream.abort()


async def _never_called(_request: web.BaseRequest) -> NoReturn:
    raise AssertionError("requests are read by Downstream")


def _address_of(transport: asyncio.Transport) -> str:
    """The address of the other end, or ``unix``; ``""`` where nobody is there any more."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_UNIX:
        return "unix"
    name = transport.get_extra_info("peername")
    return plain_address(name[0]) if name else ""


def _certificate_of(transport: asyncio.Transport) -> ClientCertificate | None:
    tls = transport.get_extra_info("ssl_object")
    der = None if tls is None else tls.getpeercert(binary_form=True)
    return None if der is None else read_certificate(der)

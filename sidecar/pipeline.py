"""The life of a request, on one screen.

listen -> parse -> route -> authenticate -> authorize -> forward -> audit.

Where there are limits or policies for pages of other sites, a gate stands before and after the
decision.
`listen` and `parse` have made a head of what arrived; `decide` routes, authenticates and
authorizes without awaiting anything; only its `Permit` opens the upstream. What memory lacks is
loaded, bounded by a deadline, and the decision made again; what takes long to compile is compiled
in slices between other requests. When the stores cannot say, a route may accept what was known a
while ago. Refusal is a value and the default.
"""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Mapping
from typing import Final, Protocol

from sidecar.audit.record import record_of, record_of_close
from sidecar.audit.sink import AuditSink
from sidecar.audit.traces import Relayed, Traces
from sidecar.authorize.permit import Permit
from sidecar.clock import instant, stopwatch, wall
from sidecar.decide import EMPTY, MOST_ROUNDS, Snapshot, decide, decide_without_stores
from sidecar.forward.exchange import Exchange
from sidecar.gate import Gate
from sidecar.model.decision import Denial, Missing, Work
from sidecar.model.errors import StoresUnavailable
from sidecar.model.head import RequestHead
from sidecar.model.need import Found, Need, SessionNeed
from sidecar.model.peer import Peer
from sidecar.model.reason import Reason
from sidecar.telemetry.meters import Meters
from sidecar.telemetry.propagation import Propagation
from sidecar.telemetry.request_spans import Loads

_LOG: Final = logging.getLogger(__name__)
# Compiling for one request, the wait for others' included: a hundred thousand grants take a fifth
# of a second. What was done stays, for whoever asks again.
_WORK_SECONDS: Final = 2.0
_SCHEMES: Final = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}
_OVERLOADED: Final = Denial(Reason.OVERLOADED, "compiling grants took too long")


class Loaded(Protocol):
    """A fact and where it was found."""

    @property
    def fact(self) -> Found | Denial:
        """What was found."""

    @property
    def tier(self) -> str:
        """``memory``, ``redis``, ``postgres`` or ``verifier``."""


class Loader(Protocol):
    """Memory -> Redis -> PostgreSQL (`sync.tiers`)."""

    async def load(self, need: Need, now: float) -> Loaded:
        """Find `need` at the monotonic instant `now`; raises StoresUnavailable."""


class Redeems(Protocol):
    """Who knows tickets (`sync.tickets.Tickets`)."""

    async def redeem(self, ticket: bytes, head: RequestHead, /) -> SessionNeed | None:
        """The session that a ticket stands for; raises StoresUnavailable."""


class Asker(Protocol):
    """On whose behalf a decision is made: an exchange, or a connection that is open already."""

    head: RequestHead
    peer: Peer
    request_id: bytes


class Pipeline:
    """Leads each exchange from its head to its end.

    Args:
        snapshot: what decisions are made from.
        loader: finds what memory lacks.
        load_seconds: bound on all loading for one request.
        meters: counts.
        audit: gets a record of each exchange; None for none.
        audit_permits: whether permits are recorded, too.
        gate: asked before and after each decision; None where there is nothing to ask.
        tickets: redeems tickets of handshakes; None where there are none.
        propagation: knows how callers name the traces of what is not forwarded.
        traces: keeps spans; None where nothing is recorded.
    """

    def __init__(
        self,
        *,
        snapshot: Snapshot,
        loader: Loader,
        load_seconds: float,
        meters: Meters,
        audit: AuditSink | None,
        audit_permits: bool,
        gate: Gate | None = None,
        tickets: Redeems | None = None,
        propagation: Propagation | None = None,
        traces: Traces | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._loader = loader
        self._load_seconds = load_seconds
        self._meters = meters
        self._audit = audit
        self._audit_permits = audit_permits
        self._gate = gate
        self._tickets = tickets
        self._propagation = Propagation("off") if propagation is None else propagation
        self._traces = traces
        self._loading: set[asyncio.Task[None]] = set()
        # One slice at a time, whoever it is for: between two of them the loop serves the others.
        self._working = asyncio.Lock()

    def begin(self, exchange: Exchange) -> None:
        """Decide at once where memory knows enough: nearly always."""
        if self._gate is not None and self._is_settled(exchange, self._gate):
            return
        if exchange.head.upgrade is not None and self._tickets is not None:
            ticket = self._snapshot.credentials.ticket_of(exchange.head)
            if ticket is not None:
                self._spawn(self._redeem_and_decide(exchange, ticket, self._tickets))
                return
        verdict = self._decide(exchange, EMPTY)
        if verdict.__class__ is Permit and self._gate is None:
            exchange.forward(verdict)
        elif verdict.__class__ is Missing:
            self._spawn(self._load_and_decide(exchange, verdict))
        else:
            self._conclude(exchange, verdict)

    @staticmethod
    def _is_settled(exchange: Exchange, gate: Gate) -> bool:
        try:
            return gate.settles(exchange)
        except Exception:  # noqa: BLE001 - whatever broke, the answer is a refusal
            exchange.refuse(_broken(exchange))
            return True

    def peek(self, asker: Asker) -> Permit | Denial | Missing:
        """Decide about `asker` once more, from memory."""
        return self._decide(asker, {})

    async def settle(self, asker: Asker) -> Permit | Denial:
        """The same, with all that memory lacks; `STORES_UNAVAILABLE` where no store answers."""
        verdict = self._decide(asker, {})
        if isinstance(verdict, Missing):
            verdict = await self._settle(asker, verdict)
        return _unsettled(asker, verdict) if isinstance(verdict, Missing) else verdict

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._loading.add(task)
        task.add_done_callback(self._loading.discard)

    async def _redeem_and_decide(self, exchange: Exchange, ticket: bytes, tickets: Redeems) -> None:
        """A ticket becomes the session that it stands for; then all is as always."""
        head = exchange.head
        exchange.loads = loads = Loads(stopwatch())
        try:
            async with asyncio.timeout(self._load_seconds):
                session = await tickets.redeem(ticket, head)
            loads.add("Ticket", "redis", loads.begun)
        except (StoresUnavailable, TimeoutError) as error:
            self._conclude(exchange, Denial(Reason.STORES_UNAVAILABLE, str(error)))
            return
        except Exception:  # noqa: BLE001 - whatever broke, the answer is a refusal
            self._conclude(exchange, _broken(exchange))
            return
        if session is not None and head.upgrade is not None:
            head.upgrade.presented, head.upgrade.ticket = session, True
        verdict = self._decide(exchange, {})
        if isinstance(verdict, Missing):
            verdict = await self._settle(exchange, verdict, loads)
        loads.ended = stopwatch()
        self._conclude(exchange, verdict)

    async def facts(self, missing: Missing) -> dict[Need, Found | Denial]:
        """What is missing, within the bound; less of it where the stores do not answer in time."""
        loaded: dict[Need, Found | Denial] = {}
        with contextlib.suppress(StoresUnavailable, TimeoutError):
            if missing.work is not None:
                await self._finish(missing.work)
            async with asyncio.timeout(self._load_seconds):
                await self._load(missing.needs, loaded, None)
        return loaded

    async def _load_and_decide(self, exchange: Exchange, verdict: Missing) -> None:
        exchange.loads = loads = Loads(stopwatch())
        concluded = await self._settle(exchange, verdict, loads)
        loads.ended = stopwatch()
        self._conclude(exchange, concluded)

    async def _settle(
        self, exchange: Asker, verdict: Missing, loads: Loads | None = None
    ) -> Permit | Denial | Missing:
        loaded: dict[Need, Found | Denial] = {}
        try:
            try:
                return await self._complete(exchange, verdict, loaded, loads)
            except (StoresUnavailable, TimeoutError) as error:
                refusal = Denial(Reason.STORES_UNAVAILABLE, str(error))
                return await self._without_stores(exchange, loaded) or refusal
        except Exception:  # noqa: BLE001 - whatever broke, the answer is a refusal
            return _broken(exchange)

    async def _complete(
        self,
        exchange: Asker,
        verdict: Missing,
        loaded: dict[Need, Found | Denial],
        loads: Loads | None,
    ) -> Permit | Denial | Missing:
        """The decision with all it needs; raises StoresUnavailable or TimeoutError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._load_seconds
        concluded: Permit | Denial | Missing = verdict
        for _ in range(MOST_ROUNDS):
            if not isinstance(concluded, Missing):
                break
            if concluded.work is not None:
                begun = loop.time()
                if not await self._finish(concluded.work):
                    return _OVERLOADED
                # The stores are not to blame for that.
                deadline += loop.time() - begun
            if concluded.needs:
                async with asyncio.timeout_at(deadline):
                    await self._load(concluded.needs, loaded, loads)
            concluded = self._decide(exchange, loaded, concluded.work)
        return concluded

    async def _load(
        self,
        needs: tuple[Need, ...],
        loaded: dict[Need, Found | Denial],
        loads: Loads | None,
    ) -> None:
        """All of `needs`, at the same time; what came counts also where something did not."""

        async def load(need: Need) -> None:
            begun = stopwatch()
            found = await self._loader.load(need, instant())
            kind = type(need).__name__
            self._meters.loads[kind, found.tier] += 1
            if loads is not None:
                loads.add(kind, found.tier, begun)
            loaded[need] = found.fact

        outcomes = await asyncio.gather(*map(load, needs), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _finish(self, work: Work) -> bool:
        """Do `work` in slices; tells whether it was done in time."""
        try:
            async with asyncio.timeout(_WORK_SECONDS), self._working:
                while not work.advance():  # noqa: ASYNC110 - it waits for nobody, it lets others on
                    await asyncio.sleep(0)
        except TimeoutError:
            return False
        return True

    async def _without_stores(
        self, exchange: Asker, loaded: dict[Need, Found | Denial]
    ) -> Permit | None:
        """What was known a while ago may do, on routes that say so."""
        work: Work | None = None
        for _ in range(MOST_ROUNDS):
            permit = decide_without_stores(
                exchange.head,
                wall(),
                instant(),
                self._snapshot,
                loaded,
                work,
                exchange.peer.certificate,
                _scheme(exchange),
            )
            if not isinstance(permit, Missing):
                return permit
            work = permit.work
            if work is None or not await self._finish(work):
                break
        return None

    def _decide(
        self,
        exchange: Asker,
        loaded: Mapping[Need, Found | Denial],
        done: Work | None = None,
    ) -> Permit | Denial | Missing:
        head, certificate = exchange.head, exchange.peer.certificate
        snapshot = self._snapshot
        try:
            if head.upgrade is None:
                return decide(head, wall(), instant(), snapshot, loaded, done, certificate)
            scheme = _scheme(exchange)
            return decide(head, wall(), instant(), snapshot, loaded, done, certificate, scheme)
        except Exception:  # noqa: BLE001 - whatever broke, the answer is a refusal
            return _broken(exchange)

    def _conclude(self, exchange: Exchange, verdict: Permit | Denial | Missing) -> None:
        if exchange.is_over:
            return
        if self._gate is not None:
            try:
                verdict = self._gate.passes(exchange, verdict)
            except Exception:  # noqa: BLE001 - whatever broke, the answer is a refusal
                verdict = _broken(exchange)
        if verdict.__class__ is Permit:
            exchange.forward(verdict)
        elif isinstance(verdict, Denial):
            exchange.refuse(verdict)
        else:
            exchange.refuse(_unsettled(exchange, verdict))

    def ended(self, exchange: Exchange) -> None:
        """Count and record an exchange that is over; also what broke (always called)."""
        if self._gate is not None:
            self._gate.left(exchange)
        now = stopwatch()
        seconds = now - exchange.started
        meters = self._meters
        meters.bytes_in += exchange.bytes_in
        meters.bytes_out += exchange.bytes_out
        permit = exchange.permit
        denial = exchange.denial
        name, reason = "", ""
        if permit is not None:
            name, reason = permit.route.name, permit.reason
        elif denial is not None and denial.route is not None:
            name = denial.route.name
        if denial is not None:
            reason = denial.reason
        meters.requests[name, reason, exchange.status] += 1
        meters.seconds[name].add(seconds)
        traces = self._traces
        if not exchange.trace:
            if traces is None:
                exchange.trace = self._propagation.known(exchange.head)
            else:
                traces.begin(exchange)
        record = None
        if self._audit is not None and (self._audit_permits or denial is not None):
            record = record_of(exchange, wall(), seconds)
            self._audit.add(record)
        if traces is not None and (
            exchange.trace[-1] & 1 or denial is not None or exchange.status >= 500
        ):
            traces.ended(exchange, record, now, _scheme(exchange))

    def closed(self, session: Relayed) -> None:
        """Record a WebSocket that has ended."""
        now = stopwatch()
        record = None
        if self._audit is not None and (self._audit_permits or session.denial is not None):
            record = record_of_close(session, wall(), now - session.started)
            self._audit.add(record)
        if self._traces is not None:
            self._traces.closed(session, record, now)


def _scheme(asker: Asker) -> str:
    """How the client speaks to the first of us and the proxies before us."""
    peer = asker.peer
    if peer.is_trusted:
        told = (asker.head.value(b"x-forwarded-proto") or b"").lower()
        if told in _SCHEMES:
            return _SCHEMES[told]
    return peer.scheme


def _unsettled(asker: Asker, verdict: Permit | Missing) -> Denial:
    _LOG.error("request %s still misses facts: %r", asker.request_id, verdict)
    return Denial(Reason.INTERNAL_ERROR, "the decision did not converge")


def _broken(exchange: Asker) -> Denial:
    """A bug of ours refuses (PROMISES 1)."""
    _LOG.exception("request %s could not be decided", exchange.request_id.decode("ascii"))
    return Denial(Reason.INTERNAL_ERROR, "an error in the decision")

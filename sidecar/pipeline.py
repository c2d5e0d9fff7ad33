"""The life of a request, on one screen.

listen -> parse -> route -> authenticate -> authorize -> forward -> audit.

`listen` and `parse` have made a head of what arrived; `decide` routes, authenticates and
authorizes without awaiting anything; only its `Permit` opens the upstream. What memory lacks is
loaded, bounded by a deadline, and the decision made again. Refusal is a value and the default.
"""

import asyncio
import logging
from typing import Final, Protocol

from sidecar.audit.record import record_of
from sidecar.audit.sink import AuditSink
from sidecar.authorize.permit import Permit
from sidecar.clock import instant, stopwatch, wall
from sidecar.decide import MOST_ROUNDS, Snapshot, decide
from sidecar.forward.exchange import Exchange
from sidecar.model.decision import Denial, Missing
from sidecar.model.errors import StoresUnavailable
from sidecar.model.need import Found, Need
from sidecar.model.reason import Reason
from sidecar.telemetry.meters import Meters

_LOG: Final = logging.getLogger(__name__)


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


class Pipeline:
    """Leads each exchange from its head to its end.

    Args:
        snapshot: what decisions are made from.
        loader: finds what memory lacks.
        load_seconds: bound on all loading for one request.
        meters: counts.
        audit: gets a record of each exchange; None for none.
        audit_permits: whether permits are recorded, too.
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
    ) -> None:
        self._snapshot = snapshot
        self._loader = loader
        self._load_seconds = load_seconds
        self._meters = meters
        self._audit = audit
        self._audit_permits = audit_permits
        self._loading: set[asyncio.Task[None]] = set()

    def begin(self, exchange: Exchange) -> None:
        """Decide at once where memory knows enough: nearly always."""
        verdict = self._decide(exchange, {})
        if verdict.__class__ is Missing:
            task = asyncio.create_task(self._load_and_decide(exchange, verdict))
            self._loading.add(task)
            task.add_done_callback(self._loading.discard)
        else:
            self._conclude(exchange, verdict)

    async def _load_and_decide(self, exchange: Exchange, verdict: Missing) -> None:
        loaded: dict[Need, Found | Denial] = {}
        concluded: Permit | Denial | Missing = verdict
        try:
            async with asyncio.timeout(self._load_seconds):
                for _ in range(MOST_ROUNDS):
                    if not isinstance(concluded, Missing):
                        break
                    needs = concluded.needs
                    found = await asyncio.gather(
                        *(self._loader.load(need, instant()) for need in needs)
                    )
                    for need, each in zip(needs, found, strict=True):
                        self._meters.loads[type(need).__name__, each.tier] += 1
                        loaded[need] = each.fact
                    concluded = self._decide(exchange, loaded)
        except (StoresUnavailable, TimeoutError) as error:
            concluded = Denial(Reason.STORES_UNAVAILABLE, str(error))
        except Exception:  # noqa: BLE001 - whatever broke, the answer is a refusal
            concluded = _broken(exchange)
        self._conclude(exchange, concluded)

    def _decide(
        self, exchange: Exchange, loaded: dict[Need, Found | Denial]
    ) -> Permit | Denial | Missing:
        head = exchange.head
        if head.upgrade:
            return Denial(Reason.UNSUPPORTED_UPGRADE, "WebSocket is not relayed in this release")
        try:
            return decide(head, wall(), instant(), self._snapshot, loaded)
        except Exception:  # noqa: BLE001 - whatever broke, the answer is a refusal
            return _broken(exchange)

    def _conclude(self, exchange: Exchange, verdict: Permit | Denial | Missing) -> None:
        if exchange.is_over:
            return
        if verdict.__class__ is Permit:
            exchange.forward(verdict)
        elif isinstance(verdict, Denial):
            exchange.refuse(verdict)
        else:
            _LOG.error("request %s still misses facts: %r", exchange.request_id, verdict)
            exchange.refuse(Denial(Reason.INTERNAL_ERROR, "the decision did not converge"))

    def ended(self, exchange: Exchange) -> None:
        """Count and record an exchange that is over; also what broke (always called)."""
        seconds = stopwatch() - exchange.started
        meters = self._meters
        meters.bytes_in += exchange.bytes_in
        meters.bytes_out += exchange.bytes_out
        permit = exchange.permit
        denial = exchange.denial
        route = permit.route if permit is not None else denial.route if denial is not None else None
        name = route.name if route is not None else ""
        reason = (
            denial.reason if denial is not None else permit.reason if permit is not None else ""
        )
        meters.requests[name, reason, exchange.status] += 1
        meters.seconds[name].add(seconds)
        if self._audit is not None and (self._audit_permits or denial is not None):
            self._audit.add(record_of(exchange, wall(), seconds))


def _broken(exchange: Exchange) -> Denial:
    """A bug of ours refuses (PROMISES 1)."""
    _LOG.exception("request %s could not be decided", exchange.request_id.decode("ascii"))
    return Denial(Reason.INTERNAL_ERROR, "an error in the decision")

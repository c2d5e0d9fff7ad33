"""What is asked of a request before the decision about it, and after: preflights and limits.

Before: is there room, is it a preflight, does its client's address ask too often? None of that
needs a credential, so that floods of bad ones cost no look-up. After: does whoever was recognized
ask too often, or everybody together? Only what is permitted counts there.

Preflights that the application answers are nobody's requests: those of one address take from
buckets of their own, never from those that everybody's requests share.

What an address limit took stays taken when a later limit refuses: it is there for the work of
finding out who asks, which was done by then.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import Final

from sidecar.authorize.authorizer import Authorizer
from sidecar.authorize.permit import Permit
from sidecar.clock import instant
from sidecar.forward.exchange import Exchange
from sidecar.limit.address import client_address, key_of
from sidecar.limit.buckets import Buckets
from sidecar.limit.rates import REASONS, Charge, Excess, Limit, Per, fields_of, take
from sidecar.model.decision import Denial, Missing
from sidecar.model.head import RequestHead
from sidecar.model.reason import Reason
from sidecar.model.route import Route
from sidecar.route.cors import answer_fields, is_allowed, preflight_fields, requested_method
from sidecar.route.table import RouteTable
from sidecar.settings.schema import Overload, Rate, RouteRule

_NO_LIMITS: Final[tuple[Limit, ...]] = ()


class Gate:
    """Stands before and after the decision.

    Args:
        limits: what is let through.
        rules: the routes as they are configured, in the order of `table`.
        table: the routes as they are compiled.
        authorizer: permits preflights.
        is_trusted: whether a proxy at an address is believed about its clients.
    """

    def __init__(
        self,
        *,
        limits: Overload,
        rules: tuple[RouteRule, ...],
        table: RouteTable,
        authorizer: Authorizer,
        is_trusted: Callable[[str], bool],
    ) -> None:
        self._most: Final = limits.requests
        self._always_tells: Final = limits.rate_fields == "always"
        self._table: Final = table
        self._authorizer: Final = authorizer
        self._is_trusted: Final = is_trusted
        everywhere = [_limit(name, rate, limits.buckets) for name, rate in limits.rates.items()]
        self._addresses: Final = [limit for limit in everywhere if limit.per is Per.ADDRESS]
        later = tuple(limit for limit in everywhere if limit.per is not Per.ADDRESS)
        # Routes of our own endpoints come first in a table.
        configured = dict(zip(table.routes[len(table.routes) - len(rules) :], rules, strict=True))
        self._early: dict[Route, tuple[Limit, ...]] = {}
        self._late: dict[Route, tuple[Limit, ...]] = {}
        self._of_preflights: dict[Route, tuple[Limit, ...]] = {}
        for route in table.routes:
            rates = configured[route].rates if route in configured else {}
            if route.forwards_preflights:
                self._of_preflights[route] = tuple(
                    _limit(name, rate, limits.buckets, Per.ADDRESS)
                    for name, rate in (*_shared(limits.rates), *rates.items())
                    if rate.per != "principal"
                )
            of_route = [_limit(name, rate, limits.buckets) for name, rate in rates.items()]
            early = tuple(limit for limit in of_route if limit.per is Per.ADDRESS)
            if early:
                self._early[route] = early
            self._late[route] = (
                *later, *(limit for limit in of_route if limit.per is not Per.ADDRESS),
            )  # fmt: skip
        self._answers_preflights: Final = any(
            route.cors is not None or route.forwards_preflights for route in table.routes
        )
        self._inside: Final[set[Exchange]] = set()

    @property
    def under_way(self) -> int:
        """Requests that were let in and are not over."""
        return len(self._inside)

    # -- Before the decision ----------------------------------------------------------------

    def settles(self, exchange: Exchange) -> bool:
        """Whether `exchange` needs no decision: it was refused, or it was a preflight."""
        refusal: Denial | None = None
        if len(self._inside) >= self._most:
            refusal = Denial(Reason.OVERLOADED, "as many requests as limits.requests")
        else:
            self._inside.add(exchange)
            if self._addresses or self._early:
                refusal = self._count_address(exchange)
        if refusal is not None:
            exchange.fields += self._readable(exchange)
            exchange.refuse(refusal)
            return True
        return self._answers_preflights and self._settles_preflight(exchange)

    def _readable(self, exchange: Exchange) -> bytes:
        """What lets pages of other sites see that they were refused before anything was decided."""
        if not self._answers_preflights:
            return b""
        head = exchange.head
        match = self._table.match(head.host, requested_method(head) or head.method, head.path)
        if isinstance(match, Denial) or match.route.cors is None:
            return b""
        return answer_fields(match.route.cors, head)

    def _count_address(self, exchange: Exchange) -> Denial | None:
        head = exchange.head
        route: Route | None = None
        limits = self._addresses
        if self._early:
            match = self._table.match(head.host, head.method, head.path)
            if not isinstance(match, Denial):
                route = match.route
                limits = [*limits, *self._early.get(route, _NO_LIMITS)]
        return self._count_each(exchange, limits, route)

    def _count_each(
        self,
        exchange: Exchange,
        limits: Collection[Limit],
        route: Route | None,
        permit: Permit | None = None,
    ) -> Denial | None:
        """Take from the bucket that each of `limits` has for the client's address."""
        head, peer = exchange.head, exchange.peer
        if not limits:
            return None
        address = peer.address
        if peer.is_trusted:
            address = client_address(address, head.values(b"x-forwarded-for"), self._is_trusted)
        key = key_of(address)
        return self._count(exchange, [(limit, key) for limit in limits], route, permit)

    def _settles_preflight(self, exchange: Exchange) -> bool:
        head = exchange.head
        method = requested_method(head)
        if not method:
            return False
        match = self._table.match(head.host, method, head.path)
        if isinstance(match, Denial):
            return False
        permit = self._authorizer.preflight(match)
        if not isinstance(permit, Permit):
            return False
        route = match.route
        if route.cors is None:
            if self._decides_itself(head):
                return False
            excess = self._count_each(exchange, self._of_preflights[route], route, permit)
            if excess is None:
                exchange.forward(permit)
            else:
                exchange.refuse(excess)
        elif is_allowed(route.cors, head):
            exchange.fields += preflight_fields(route.cors, route, head)
            exchange.answer_empty(permit)
        else:
            exchange.fields += answer_fields(route.cors, head)
            detail = "the policy of the route does not name the page's origin"
            exchange.refuse(Denial(Reason.ORIGIN_NOT_ALLOWED, detail, route=route))
        return True

    def _decides_itself(self, head: RequestHead) -> bool:
        """Whether a route names the method OPTIONS there: then its rule says who may send it."""
        match = self._table.match(head.host, head.method, head.path)
        return not isinstance(match, Denial) and head.method in match.route.methods

    # -- After it ---------------------------------------------------------------------------

    def passes(
        self, exchange: Exchange, verdict: Permit | Denial | Missing
    ) -> Permit | Denial | Missing:
        """The verdict, or the refusal of a permit that exceeds a limit."""
        if isinstance(verdict, Missing):
            return verdict
        route = verdict.route
        if route is None:
            return verdict
        if route.cors is not None:
            exchange.fields += answer_fields(route.cors, exchange.head)
        if isinstance(verdict, Denial):
            return verdict
        charges = self._charges(verdict)
        if not charges:
            return verdict
        return self._count(exchange, charges, route, verdict) or verdict

    def _charges(self, permit: Permit) -> list[Charge]:
        principal, route = permit.principal, permit.route
        charges: list[Charge] = []
        for limit in self._late[route]:
            key: Hashable = route.name
            if limit.per is Per.PRINCIPAL:
                if principal is None:
                    continue
                key = (principal.tenant, principal.subject)
            charges.append((limit, key))
        return charges

    def left(self, exchange: Exchange) -> None:
        """`exchange` is over, whether it was let in or not."""
        self._inside.discard(exchange)

    # -- Both -------------------------------------------------------------------------------

    def _count(
        self,
        exchange: Exchange,
        charges: list[Charge],
        route: Route | None,
        permit: Permit | None = None,
    ) -> Denial | None:
        now = instant()
        excess = take(charges, now)
        if excess is None:
            if self._always_tells:
                exchange.fields += fields_of(charges, now)
            return None
        exchange.fields += excess.fields
        return _refusal(excess, route, permit)


def _limit(name: str, rate: Rate, buckets: int, per: Per | None = None) -> Limit:
    burst = rate.burst or rate.requests
    table = Buckets(rate.seconds / rate.requests, burst, buckets)
    return Limit(name, per or Per(rate.per), rate.requests, rate.seconds, table)


def _shared(rates: Mapping[str, Rate]) -> Iterable[tuple[str, Rate]]:
    """Limits of all routes that count each route's requests together, by name.

    Those for each address have counted a preflight already, as any request of that address.
    """
    return ((name, rate) for name, rate in rates.items() if rate.per == "route")


def _refusal(excess: Excess, route: Route | None, permit: Permit | None) -> Denial:
    return Denial(
        REASONS[excess.limit.per],
        f"the limit {excess.limit.name} of {excess.limit.requests} requests in "
        f"{excess.limit.seconds:g} s is used up",
        route=route,
        principal=permit.principal if permit is not None else None,
        retry_after=excess.seconds,
    )


def gate_of(
    *,
    limits: Overload,
    connections: int,
    rules: tuple[RouteRule, ...],
    table: RouteTable,
    authorizer: Authorizer,
    is_trusted: Callable[[str], bool],
) -> Gate | None:
    """The gate that the settings ask for; None where they ask for nothing: then it costs nothing.

    Args:
        limits: see `Gate`.
        connections: of clients, at most: each has one request under way.
        rules: see `Gate`.
        table: see `Gate`.
        authorizer: see `Gate`.
        is_trusted: see `Gate`.
    """
    asked = (
        limits.rates
        or limits.requests < connections
        or any(rule.rates or rule.cors or rule.preflight == "forward" for rule in rules)
    )
    if not asked:
        return None
    return Gate(
        limits=limits,
        rules=rules,
        table=table,
        authorizer=authorizer,
        is_trusted=is_trusted,
    )

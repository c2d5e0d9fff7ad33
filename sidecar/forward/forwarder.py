"""What all exchanges share, and what each asks of those at its side."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from sidecar.authorize.permit import Permit
from sidecar.forward.answers import Answers
from sidecar.forward.identifiers import Identifiers
from sidecar.forward.in_process import IN_PROCESS, inner_identity
from sidecar.forward.request_fields import RequestFields
from sidecar.forward.response_fields import ResponseFields
from sidecar.forward.switching import Handed, Switches
from sidecar.model.head import RequestHead
from sidecar.telemetry.propagation import Propagation

if TYPE_CHECKING:
    from sidecar.forward.exchange import Exchange
    from sidecar.forward.pool import UpstreamPool


class Client(Protocol):
    """What an exchange asks of the connection of its client."""

    def write(self, octets: bytes) -> None:
        """Send; the connection tells the exchange when it does not keep up."""

    def hold_body(self) -> None:
        """Read no more of the request's body."""

    def release_body(self) -> None:
        """Read on."""

    def exchange_ended(self, *, keep_alive: bool) -> None:
        """The response is complete."""

    def abort(self) -> None:
        """The response broke off: end the connection so that this is seen (PROMISES 7)."""

    def hand_over(self) -> Handed | None:
        """Give the connection away, for it is no longer HTTP; None where it is gone."""

    def lags(self) -> bool:
        """Whether it took next to nothing since the last question, or since it paused."""


class Guard(Protocol):
    """Who is asked about an exchange that lasts (`relay.streams`)."""

    def may_pass(self) -> bool:
        """Whether a part of the request, or an interim answer, may go on now."""

    def admits(self, payload: bytes, *, ended: bool) -> bool:
        """The same of a part of the response; where it may later, it is given to `relay` again."""

    def left(self) -> None:
        """The response is over."""


class Forwarder:
    """What all exchanges share.

    Args:
        request_fields: writes heads for the upstream.
        response_fields: writes heads for the client.
        answers: writes our own answers.
        identifiers: makes request ids.
        propagation: knows the trace of each request.
        pools: by name of the upstream.
        hosts: Host for upstreams that do not get the client's.
        authorities: Host for the others where the client named none (HTTP/1.0).
        ended: called once for each exchange, when it is over.

    Attributes:
        is_draining: set when we are asked to end: responses then close their connections.
        switches: relays WebSockets; None where nobody does.
        handshake_pools: connections for their handshakes, by name of the upstream. None is used a
            second time; with its handshake it leaves the pool. What becomes of handshakes says
            nothing about requests: their circuit breakers are others.
    """

    def __init__(
        self,
        *,
        request_fields: RequestFields,
        response_fields: ResponseFields,
        answers: Answers,
        identifiers: Identifiers,
        propagation: Propagation,
        pools: "dict[str, UpstreamPool]",
        hosts: dict[str, bytes],
        authorities: dict[str, bytes],
        ended: "Callable[[Exchange], None]",
    ) -> None:
        self.request_fields: Final = request_fields
        self.response_fields: Final = response_fields
        self.answers: Final = answers
        self.identifiers: Final = identifiers
        self.propagation: Final = propagation
        self.pools: Final = pools
        self.hosts: Final = hosts
        self.authorities: Final = authorities
        self.ended: Final = ended
        self.is_draining = False
        self.switches: Switches | None = None
        self.handshake_pools: dict[str, UpstreamPool] = {}

    def host_of(self, head: RequestHead, upstream: str) -> bytes | None:
        """Host for `upstream`; None for the client's."""
        host = self.hosts.get(upstream)
        if host is None and not head.authority:
            # We ask in HTTP/1.1, where Host is due (RFC 9112 section 3.2) and an empty one would be
            # what each application makes of it.
            return self.authorities.get(upstream)
        return host

    @staticmethod
    def identity_of(permit: Permit) -> bytes:
        """The identity fields for the upstream of `permit`."""
        principal = permit.principal
        if principal is None:
            return b""
        if permit.route.upstream == IN_PROCESS:
            return inner_identity(principal)
        return principal.identity

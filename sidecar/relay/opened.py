"""What a session begins with."""

from dataclasses import dataclass

from sidecar.authorize.permit import Permit
from sidecar.model.head import RequestHead
from sidecar.model.peer import Peer
from sidecar.model.websocket import WebSocketPolicy
from sidecar.relay.end import Handed
from sidecar.relay.frames import Frames
from sidecar.relay.gate import Gate
from sidecar.relay.handshake import Agreement
from sidecar.telemetry.connection_spans import Journal


@dataclass(slots=True)
class Opened:
    """A handshake that was permitted and agreed on, and its two connections.

    Attributes:
        head: the handshake.
        peer: the client's connection.
        request_id: of the exchange.
        permit: what allowed it.
        policy: of its route.
        agreement: of client and upstream.
        client: the client's connection.
        upstream: the upstream's.
        gate: judges messages; None where nothing does.
        reads_messages: whether messages are read at all.
        trace: the traceparent that the upstream got.
        journal: what happens on it; None where nothing is recorded.
    """

    head: RequestHead
    peer: Peer
    request_id: bytes
    permit: Permit
    policy: WebSocketPolicy
    agreement: Agreement
    client: Handed
    upstream: Handed
    gate: Gate | None
    reads_messages: bool
    trace: bytes
    journal: Journal | None

    def frames(self, *, is_client: bool) -> Frames:
        """What watches one direction, with the limits of the route."""
        policy = self.policy
        most = policy.message_bytes
        if self.reads_messages:
            most = min(policy.read_bytes, most)
        return Frames(
            is_masked=is_client,
            compresses=self.agreement.compresses,
            frame_bytes=min(policy.frame_bytes, most),
            message_bytes=most,
            keeps_fragments=self.reads_messages,
        )

"""Decides one request as the sidecar would, and tells all that led to it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from sidecar.assembly.deciding import Deciding, open_deciding
from sidecar.assembly.messages import MessageGates
from sidecar.authorize.permit import Permit
from sidecar.clock import instant, wall
from sidecar.decide import MOST_ROUNDS, decide, decide_without_stores
from sidecar.model.decision import Denial, Missing, Work
from sidecar.model.errors import StoresUnavailable
from sidecar.model.explanation import AskedMessage, Explanation, MessageExplanation, Step, step
from sidecar.model.facts import Fact
from sidecar.model.head import RequestHead
from sidecar.model.need import ABSENT, Found, Need
from sidecar.model.reason import Reason
from sidecar.relay.gate import Direction, Kind
from sidecar.relay.message.explaining import beside_fresh_tokens, explain_message
from sidecar.route.table import resource_of
from sidecar.settings.schema import Root, RouteRule


class Decider:
    """Decides without forwarding.

    Args:
        deciding: what decisions are made from.
        rules: the routes of the settings.
    """

    def __init__(self, deciding: Deciding, rules: Sequence[RouteRule] = ()) -> None:
        self._deciding = deciding
        self._rules = rules

    async def explain(self, head: RequestHead, message: AskedMessage | None = None) -> Explanation:
        """The decision about `head` and each fact it needed.

        Args:
            head: the request.
            message: the first message of the connection, where it is a WebSocket's handshake.

        Raises:
            StoresUnavailable: no store answered in time.
            MessagesError: a hook that reads messages cannot be imported.
        """
        snapshot, tiers = self._deciding.snapshot, self._deciding.tiers
        loaded: dict[Need, Found | Denial] = {}
        steps: list[Step] = []
        work: Work | None = None
        for _ in range(MOST_ROUNDS):
            verdict = decide(head, wall(), instant(), snapshot, loaded, work)
            if not isinstance(verdict, Missing):
                return self._explanation(head, verdict, tuple(steps), message)
            work = verdict.work
            while work is not None and not work.advance():
                pass
            for need in verdict.needs:
                try:
                    found = await tiers.load(need, instant())
                except StoresUnavailable:
                    permit = decide_without_stores(head, wall(), instant(), snapshot, loaded)
                    if not isinstance(permit, Permit):
                        raise
                    return self._explanation(head, permit, tuple(steps), message)
                loaded[need] = found.fact
                tier = "absent" if found.fact is ABSENT else str(found.tier)
                version = found.fact.version if isinstance(found.fact, Fact) else None
                steps.append(step(need, tier, version))
        raise AssertionError("the decision did not converge")

    def _explanation(
        self,
        head: RequestHead,
        verdict: Permit | Denial,
        steps: tuple[Step, ...],
        message: AskedMessage | None,
    ) -> Explanation:
        match = self._deciding.snapshot.routes.match(head.host, head.method, head.path)
        explanation = Explanation(
            method=head.method,
            path=head.path,
            host=head.host,
            permitted=isinstance(verdict, Permit),
            reason=Reason(verdict.reason),
            principal=verdict.principal,
            origin=verdict.origin,
            steps=steps,
        )
        if isinstance(verdict, Denial):
            explanation = replace(
                explanation, status=verdict.status, detail=verdict.detail, allow=verdict.allow
            )
        if isinstance(match, Denial):
            return explanation
        return replace(
            explanation,
            route=match.route,
            parameters=dict(match.parameters),
            resource=resource_of(match),
            message=self._about_message(verdict, message),
        )

    def _about_message(
        self, verdict: Permit | Denial, message: AskedMessage | None
    ) -> MessageExplanation | None:
        if message is None or not isinstance(verdict, Permit):
            return None
        policies = MessageGates(self._rules, self._deciding.snapshot.routes.routes).policies
        policy = policies.get(verdict.route)
        direction = Direction.SERVER if message.from_server else Direction.CLIENT
        kind = Kind.TEXT if message.is_text else Kind.BINARY
        if policy is None:
            unread = "the route has no message rules: messages pass unread"
            found = MessageExplanation(passes=True, detail=unread)
        else:
            found = explain_message(policy, verdict, direction, kind, message.payload)
        sockets = verdict.route.websocket
        fresh = None if sockets is None else sockets.reauthentication
        return beside_fresh_tokens(found, fresh, direction, kind)


@asynccontextmanager
async def open_decider(root: Root) -> AsyncIterator[Decider]:
    """A decider on the stores of `root`."""
    async with open_deciding(root) as deciding:
        await deciding.first_news()
        yield Decider(deciding, root.routes)

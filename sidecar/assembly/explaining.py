"""Decides one request as the sidecar would, and tells all that led to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from sidecar.assembly.deciding import Deciding, open_deciding
from sidecar.authorize.permit import Permit
from sidecar.clock import instant, wall
from sidecar.decide import MOST_ROUNDS, decide, decide_without_stores
from sidecar.model.decision import Denial, Missing, Work
from sidecar.model.errors import StoresUnavailable
from sidecar.model.explanation import Explanation, Step, step
from sidecar.model.facts import Fact
from sidecar.model.head import RequestHead
from sidecar.model.need import ABSENT, Found, Need
from sidecar.model.reason import Reason
from sidecar.route.table import resource_of
from sidecar.settings.schema import Root


class Decider:
    """Decides without forwarding.

    Args:
        deciding: what decisions are made from.
    """

    def __init__(self, deciding: Deciding) -> None:
        self._deciding = deciding

    async def explain(self, head: RequestHead) -> Explanation:
        """The decision about `head` and each fact it needed.

        Raises:
            StoresUnavailable: no store answered in time.
        """
        snapshot, tiers = self._deciding.snapshot, self._deciding.tiers
        loaded: dict[Need, Found | Denial] = {}
        steps: list[Step] = []
        work: Work | None = None
        for _ in range(MOST_ROUNDS):
            verdict = decide(head, wall(), instant(), snapshot, loaded, work)
            if not isinstance(verdict, Missing):
                return self._explanation(head, verdict, tuple(steps))
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
                    return self._explanation(head, permit, tuple(steps))
                loaded[need] = found.fact
                tier = "absent" if found.fact is ABSENT else str(found.tier)
                version = found.fact.version if isinstance(found.fact, Fact) else None
                steps.append(step(need, tier, version))
        raise AssertionError("the decision did not converge")

    def _explanation(
        self, head: RequestHead, verdict: Permit | Denial, steps: tuple[Step, ...]
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
        )


@asynccontextmanager
async def open_decider(root: Root) -> AsyncIterator[Decider]:
    """A decider on the stores of `root`."""
    async with open_deciding(root) as deciding:
        await deciding.first_news()
        yield Decider(deciding)

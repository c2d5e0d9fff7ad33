"""What the model goes through, smallest worlds first; each says what it is there to show."""

from typing import Final

from tests.model.world import Budget, Scenario

_FAILED_OVER: Final = (
    "Redis fails over to a replica that has all; the old master is isolated",
    "a relay sees that Redis needs an epoch after 1",
    "Redis begins epoch 2",
)
# A relay that is still connected to the old master takes the epoch there for an old one.
_WRONG_MASTER: Final = (
    *_FAILED_OVER,
    "revocation 1 is committed",
    "a relay sees that the isolated old master needs an epoch after 2",
    "the isolated old master begins epoch 3",
)
# The first relay pauses once PostgreSQL has given it epoch 2; another comes and is given epoch 3.
_SLOW_RELAY: Final = (
    "Redis forgets",
    "a relay sees that Redis needs an epoch after 1",
    "PostgreSQL gives the relay epoch 2",
    "a relay sees that Redis needs an epoch after 2",
    "PostgreSQL gives the relay epoch 3",
)
# The other relay goes on, and a revocation is applied while sidecar A is suspended.
_SLOW_RELAY_RETURNS: Final = (
    *_SLOW_RELAY,
    "revocation 1 is committed",
    "Redis begins epoch 3",
    "the writer tells Redis change 1",
    "half a lease",
    "half a lease",
    "half a lease",
)
_RESTORED: Final = (
    "revocation 1 is committed",
    "the writer tells Redis change 1",
    "PostgreSQL is restored",
    "a relay sees that Redis needs an epoch after 1",
    "Redis begins epoch 2",
    "Redis serves a heartbeat of A",
    "the answer to its heartbeat reaches A",
)
# Sidecar A asks for a change that it missed, and PostgreSQL's data begin a new life meanwhile.
_ASKED_BEFORE_THE_RESTORE: Final = (
    "revocation 1 is committed",
    "the writer tells Redis change 1",
    "Redis serves a heartbeat of A",
    "the answer to its heartbeat reaches A",
    "A asks for changes 1 to 1",
    "PostgreSQL is restored",
    "a relay sees that Redis needs an epoch after 1",
    "Redis begins epoch 2",
    "Redis serves a heartbeat of A",
    "the answer to its heartbeat reaches A",
)
SCENARIOS: Final = {
    "a start": Scenario(timely=True),
    "a warm memory": Scenario(warm=True, stored=True, timely=True),
    "a restart": Scenario(budget=Budget(restarts=1), timely=True),
    "a replay that finds nothing": Scenario(warm=True, forgetful=True, timely=True),
    "the writer is a sidecar": Scenario(warm=True, stored=True, own=True),
    "two sidecars": Scenario(sidecars=2, warm=True, timely=True),
    "a replacement": Scenario(budget=Budget(replacements=1), warm=True, timely=True),
    "an end in order": Scenario(
        sidecars=2, budget=Budget(leaves=1), warm=True, stored=True, timely=True
    ),
    "an end in order, then a failover": Scenario(
        budget=Budget(leaves=1, failovers=1), warm=True, stored=True
    ),
    "a revocation after another change": Scenario(
        budget=Budget(commits=2), concerns=(False, True), warm=True, stored=True, timely=True
    ),
    "a revocation before another change": Scenario(
        budget=Budget(commits=2), concerns=(True, False), warm=True, stored=True, timely=True
    ),
    "a revocation between two changes": Scenario(
        budget=Budget(commits=3), concerns=(False, True, False), warm=True
    ),
    "two revocations": Scenario(
        budget=Budget(commits=2), concerns=(True, True), warm=True, forgetful=True, timely=True
    ),
    "a flush": Scenario(budget=Budget(flushes=1), warm=True, stored=True, timely=True),
    "a failover": Scenario(budget=Budget(failovers=1), warm=True, stored=True, timely=True),
    "an isolated old master": Scenario(
        budget=Budget(failovers=1), warm=True, stored=True, prelude=_FAILED_OVER
    ),
    "an epoch begun in the isolated old master": Scenario(
        budget=Budget(failovers=1), warm=True, prelude=_WRONG_MASTER
    ),
    "what was published beside an isolated old master": Scenario(
        budget=Budget(failovers=1), warm=True, timely=True, prelude=_FAILED_OVER
    ),
    "a restart beside an isolated old master": Scenario(
        budget=Budget(failovers=1, restarts=1), warm=True, stored=True, prelude=_FAILED_OVER
    ),
    "a flush and hasty relays": Scenario(budget=Budget(flushes=1), warm=True, hasty=True),
    "a slow relay": Scenario(budget=Budget(flushes=2), warm=True, hasty=True, prelude=_SLOW_RELAY),
    "an epoch that begins long after it was chosen": Scenario(
        warm=True,
        hasty=True,
        prelude=(*_SLOW_RELAY, "Redis begins epoch 2"),
        budget=Budget(flushes=1),
    ),
    "a slow relay that returns": Scenario(
        budget=Budget(flushes=2), warm=True, hasty=True, prelude=_SLOW_RELAY_RETURNS
    ),
    "news of PostgreSQL's life before": Scenario(
        budget=Budget(commits=2, restores=1), warm=True, prelude=_RESTORED
    ),
    "a replay that outlives PostgreSQL's life": Scenario(
        budget=Budget(commits=2, restores=1),
        warm=True,
        slow=True,
        prelude=_ASKED_BEFORE_THE_RESTORE,
    ),
    "a slow replay": Scenario(
        budget=Budget(commits=2), concerns=(True, False), warm=True, slow=True, timely=True
    ),
    "a restored PostgreSQL": Scenario(
        budget=Budget(commits=2, restores=1), warm=True, stored=True, timely=True
    ),
}

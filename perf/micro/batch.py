"""How long a batch of 100 permission checks takes from memory, for one user.

Run: python -m perf.micro.batch
"""

from perf.micro.decide import GRAPH, WALL, measure, snapshot_of, user_of
from sidecar.authorize.compilation import Compilation
from sidecar.authorize.subject import Subject
from sidecar.model.facts import Session

CHECKS = 100


def main() -> None:
    """Prints microseconds for a batch, by the number of grants of the user."""
    session = Session(version=1, id="s1", tenant="acme", subject="ann", expires_at=WALL + 3600)
    print(f"{'grants':>9}{'p50 us':>9}{'p99 us':>9}")
    for grants in (10, 1_000, 100_000):
        snapshot, _ = snapshot_of(1, grants)
        user, subject = user_of(grants), None
        while not isinstance(subject, Subject):
            # What takes long is compiled in steps.
            subject = snapshot.authorizer.subject(b"k", session, user, GRAPH, WALL)
            if isinstance(subject, Compilation):
                while not subject.advance():
                    pass
        asked = [("things:read", f"things/{at}/parts/{at % 4}") for at in range(CHECKS)]
        allowed = sum(each is not None for each in subject.check_many(asked))
        assert 0 < allowed < CHECKS, allowed
        p50, p99 = measure(lambda: subject.check_many(asked))  # noqa: B023  # called at once
        print(f"{grants:9}{p50:9.1f}{p99:9.1f}")


if __name__ == "__main__":
    main()

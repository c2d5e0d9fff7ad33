"""The audit record of a change by an operator, beside those of requests in the same sink."""

from typing import Any

import msgspec


class Administration(msgspec.Struct, tag_field="kind", tag="administration"):
    """What is kept of one call of the admin API; one JSON object a line, told apart by ``kind``.

    Attributes:
        time: wall clock at its end, seconds.
        request_id: as in the answer.
        who: through which door it came; those who hold the token are not told apart.
        what: name of the operation, e.g. ``revoke-session``; ``refused`` for calls that were not
            let in: one record for all of an address in ten seconds, about the last of them.
        outcome: ``permit`` (carried out), ``deny`` (refused) or ``fault`` (not stored).
        reason: how far it came (`model.change.Level`), or the code of the error.
        status: of the answer; 0 when the call was broken off before it.
        client: address of the peer.
        milliseconds: how long it took, waiting for confirmations included.
        target: names in the path: tenant, subject, role...
        asked: values of the body and the query; of ``refused`` the last ``call`` and how many
            ``calls``.
    """

    time: float
    request_id: str
    who: str
    what: str
    outcome: str
    reason: str
    status: int
    client: str
    milliseconds: float
    target: dict[str, str]
    asked: dict[str, Any]

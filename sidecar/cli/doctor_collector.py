"""What `sidecar doctor` asks of a collector of traces: whether it would take any."""

import os
import ssl
from functools import partial
from typing import Final

import aiohttp

from sidecar.cli.doctor_findings import Finding, examine, fine, warning
from sidecar.settings.schema import Tracing

AREA: Final = "collector"
_ADVICE: Final = "mend tracing.endpoint, headers or ca; until then spans are lost, and nothing else"
# A message without spans is an empty one (protobuf): nothing arrives, but whoever asks is known.
_EMPTY: Final = b""


async def look_at_collector(tracing: Tracing) -> list[Finding]:
    """Whether an export without spans is accepted; nothing where there are no traces."""
    if not tracing.endpoint:
        return []
    return await examine(AREA, f"the collector at {tracing.endpoint}", partial(_ask, tracing))


async def _ask(tracing: Tracing) -> list[Finding]:
    endpoint = tracing.endpoint
    fields = {**tracing.headers, "Content-Type": "application/x-protobuf"}
    try:
        # As the exporter does it: those whom this machine trusts, or those who are named.
        context = ssl.create_default_context(cafile=tracing.ca)
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.post(
                endpoint, data=_EMPTY, headers=fields, ssl=context, allow_redirects=False
            ) as answer,
        ):
            status = answer.status
    except (aiohttp.ClientError, OSError) as error:
        words = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else ""
        text = f"the collector at {endpoint} cannot be asked: {words or type(error).__name__}"
        return [warning(AREA, text, _ADVICE)]
    if status != 200:
        text = f"the collector at {endpoint} takes no spans: it answers {status}"
        return [warning(AREA, text, _ADVICE)]
    return [fine(AREA, f"the collector at {endpoint} takes spans")]

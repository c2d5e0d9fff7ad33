"""What `sidecar doctor` looks at around us: the applications, and the keys of issuers."""

import asyncio
import os
from functools import partial
from typing import Final

import aiohttp

from sidecar.authenticate.keys import KeysError
from sidecar.cli.doctor_findings import Finding, Told, examine, fine, problem, warning
from sidecar.clock import instant, wall
from sidecar.settings.address import TcpAddress, parse_upstream
from sidecar.settings.schema import Issuer, Upstream
from sidecar.sync.jwks import FetchError, IssuerKeys

UPSTREAM: Final = "upstream"
ISSUER: Final = "issuer"


class _Nothing:
    """A memory that holds no tokens."""

    def drop_tokens_of_key(self, *_: object) -> None:
        """There are none."""


async def look_at_upstream(name: str, upstream: Upstream) -> list[Finding]:
    """Whether somebody accepts connections there."""
    return await examine(
        UPSTREAM, f"{name} at {upstream.url}", partial(_connect, name, upstream.url)
    )


async def look_at_issuer(issuer: Issuer) -> list[Finding]:
    """Whether the keys of `issuer` can be had, and used."""
    return await examine(ISSUER, f"the keys of {issuer.issuer}", partial(_fetch, issuer))


async def _connect(name: str, url: str) -> list[Finding]:
    address = parse_upstream(url)
    try:
        if isinstance(address, TcpAddress):
            _, writer = await asyncio.open_connection(address.host, address.port)
        else:
            _, writer = await asyncio.open_unix_connection(address.path)
    except OSError as error:
        known = error.errno is not None and error.errno > 0
        words = os.strerror(error.errno or 0) if known else str(error)
        text = f"{name} at {url} accepts no connection: {words}"
        advice = f"start the application, or mend upstreams.{name}.url; until then 502"
        raise Told(problem(UPSTREAM, text, advice)) from None
    writer.close()
    return [fine(UPSTREAM, f"{name} at {url} accepts connections")]


async def _fetch(issuer: Issuer) -> list[Finding]:
    source = IssuerKeys(issuer, _Nothing(), instant=instant, wall=wall)
    try:
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            keys = await source.fetch_once(session)
    except (FetchError, KeysError) as error:
        where = issuer.jwks.url or issuer.jwks.file
        # A fetch tells the kind of an error only; what caused it has the words.
        words = str(error.__cause__ or "") or str(error)
        text = f"the keys of {issuer.issuer} cannot be had from {where}: {words}"
        advice = "mend jwks of the issuer, the way to it, or its certificate; until then 503"
        return [problem(ISSUER, text, advice)]
    text = f"{issuer.issuer} has {len(keys.keys)} usable key(s)"
    if keys.refused:
        return [warning(ISSUER, f"{text}; not used: {'; '.join(keys.refused)}", "see its key set")]
    return [fine(ISSUER, text)]

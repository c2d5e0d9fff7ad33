"""The keys of issuers: fetched in the background, kept when the issuer is down, never by request.

A removed key stops being accepted at the next refresh; an unknown key id causes at most one fetch
in `unknown_key_seconds`, however many tokens name it (PROMISES 8).
"""

import asyncio
import logging
import os
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final, Protocol

import aiohttp
import msgspec

from sidecar.authenticate.keys import KeysError, KeySet, parse_jwks
from sidecar.authenticate.token import verify
from sidecar.model.decision import Denial
from sidecar.model.facts import VerifiedToken
from sidecar.model.need import TokenNeed
from sidecar.model.reason import Reason
from sidecar.settings.schema import Issuer
from sidecar.sync.cancellation import end_tasks

_log: Final = logging.getLogger(__name__)
# 64 keys of 8192 bits with certificates come to a quarter of this.
_LARGEST_BYTES: Final = 512 * 1024
# How often a file's time is looked at; mounted ConfigMaps change by swapping a link.
_FILE_POLL_SECONDS: Final = 1.0
# After a failure, unless the refresh is due sooner.
_RETRY_SECONDS: Final = 5.0
_WORTH_A_FETCH: Final = frozenset({Reason.UNKNOWN_KEY, Reason.KEYS_UNAVAILABLE})
_HEADERS: Final = {
    "Accept": "application/jwk-set+json, application/json",
    "Accept-Encoding": "identity",
}


class FetchError(Exception):
    """The keys could not be had. The message is for operators."""


class DropsTokens(Protocol):
    """The memory, as far as keys concern it (`cache.memory.Memory`)."""

    def drop_tokens_of_key(self, issuer: str, key_ids_still_valid: AbstractSet[str]) -> None:
        """Forget the tokens of `issuer` that other keys verified."""
        ...


class IssuerKeys:
    """The keys of one issuer.

    Attributes:
        keyset: the last that was fetched, or None.
        fetches: how many fetches were tried.
        is_failing: whether the last one failed.
    """

    def __init__(
        self,
        issuer: Issuer,
        memory: DropsTokens,
        *,
        instant: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.issuer = issuer
        self.keyset: KeySet | None = None
        self.fetches = 0
        self._memory = memory
        self._instant = instant
        self._wall = wall
        self._session: aiohttp.ClientSession | None = None
        self._running: asyncio.Task[bool] | None = None
        self._last = float("-inf")
        self._seen: tuple[int, int, int] | None = None
        self.is_failing = False

    async def keep_fresh(self, session: aiohttp.ClientSession, jitter: Callable[[], float]) -> None:
        """Fetches now and then; never returns."""
        self._session = session
        refresh = self.issuer.jwks.refresh_seconds
        while True:
            if self.issuer.jwks.file is not None:
                if not self._seen or self._seen != await asyncio.to_thread(self._stamp):
                    await self.refresh()
                await asyncio.sleep(min(refresh, _FILE_POLL_SECONDS))
                continue
            fetched = await self.refresh()
            pause = refresh if fetched else min(refresh, _RETRY_SECONDS)
            # Early rather than late: `refresh_seconds` is a bound.
            await asyncio.sleep(pause * (1 - jitter() / 10))

    async def ask(self) -> None:
        """Fetches because a token names an unknown key, if the last fetch is long enough ago.

        Waits for a fetch that is running already.
        """
        too_soon = self._instant() - self._last < self.issuer.jwks.unknown_key_seconds
        if self._running is not None or not too_soon:
            await self.refresh()

    async def refresh(self) -> bool:
        """Fetches now, or shares the fetch that is running. Whether it brought keys."""
        if self._running is None:
            self._running = asyncio.create_task(self._refresh())
            self._running.add_done_callback(self._landed)
        running = self._running
        # Not awaited itself: who gives up must not cancel it for the others.
        await asyncio.wait({running})
        return running.result()

    async def fetch_once(self, session: aiohttp.ClientSession) -> KeySet:
        """The keys as they are now, for somebody who wants to know why they cannot be had.

        Raises:
            FetchError: they could not be fetched.
            KeysError: what was fetched is no key set, or none of its keys can be used.
        """
        self._session = session
        return await self._load()

    def _landed(self, _: asyncio.Task[bool]) -> None:
        self._running = None

    async def _refresh(self) -> bool:
        self._last = self._instant()
        self.fetches += 1
        try:
            keyset = await self._load()
        except (FetchError, KeysError) as error:
            if not self.is_failing:
                _log.warning("the keys of %s could not be fetched: %s", self.issuer.issuer, error)
            self.is_failing = True
            return False
        self.is_failing = False
        self._take(keyset)
        return True

    async def _load(self) -> KeySet:
        document = await self._fetch()
        algorithms = self.issuer.algorithms
        return parse_jwks(document, algorithms, issuer=self.issuer.issuer, fetched=self._wall())

    def _take(self, keyset: KeySet) -> None:
        for refusal in keyset.refused:
            _log.warning("a key of %s is not used: %s", self.issuer.issuer, refusal)
        old = {} if self.keyset is None else self.keyset.keys
        # A key id that now names another key ends its tokens as well.
        unchanged = {
            name
            for name, key in keyset.keys.items()
            if name in old and old[name].key.thumbprint() == key.key.thumbprint()
        }
        self.keyset = keyset
        self._memory.drop_tokens_of_key(self.issuer.issuer, unchanged)

    async def _fetch(self) -> bytes:
        if self.issuer.jwks.file is not None:
            return await asyncio.to_thread(self._read_file, Path(self.issuer.jwks.file))
        if self._session is None or self.issuer.jwks.url is None:
            raise FetchError("not started")
        try:
            return await self._download(self._session, self.issuer.jwks.url)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise FetchError(type(error).__name__) from error

    async def _download(self, session: aiohttp.ClientSession, url: str) -> bytes:
        timeout = aiohttp.ClientTimeout(total=self.issuer.jwks.fetch_seconds)
        document = b""
        async with session.get(
            url, allow_redirects=False, timeout=timeout, headers=_HEADERS
        ) as response:
            if response.status != 200:
                raise FetchError(f"status {response.status}")
            while piece := await response.content.read(65536):
                document += piece
                if len(document) > _LARGEST_BYTES:
                    raise FetchError("larger than 512 KiB")
        return document

    def _read_file(self, path: Path) -> bytes:
        try:
            stamp = self._stamp()
            with path.open("rb") as file:
                document = file.read(_LARGEST_BYTES + 1)
        except OSError as error:
            raise FetchError(error.strerror or "cannot be read") from error
        if len(document) > _LARGEST_BYTES:
            raise FetchError("larger than 512 KiB")
        self._seen = stamp
        return document

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self.issuer.jwks.file or "")  # noqa: PTH116  follows the swapped link
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size


class Keys:
    """The keys of all issuers, and the verdict on tokens.

    Args:
        issuers: from the settings.
        memory: forgets the tokens of removed keys.
        instant: monotonic clock.
        wall: wall clock.
        jitter: random numbers in [0, 1), so that a fleet does not fetch in step.
    """

    def __init__(
        self,
        issuers: Iterable[Issuer],
        memory: DropsTokens,
        *,
        instant: Callable[[], float],
        wall: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self._wall = wall
        self._jitter = jitter
        self.issuers = {issuer.issuer: issuer for issuer in issuers}
        self.sources = {
            name: IssuerKeys(issuer, memory, instant=instant, wall=wall)
            for name, issuer in self.issuers.items()
        }

    @property
    def keysets(self) -> dict[str, KeySet]:
        """The keys of all issuers that could be asked so far, by `iss`."""
        return {
            name: source.keyset
            for name, source in self.sources.items()
            if source.keyset is not None
        }

    async def run(self) -> None:
        """Keeps all keys fresh; never returns. Issuers that are down do not hinder the start.

        Raises whatever is a fault of ours; then nothing of it runs any more.
        """
        if not self.sources:
            return
        # No redirects, no decompression, no cookies: what comes is not trusted yet.
        async with aiohttp.ClientSession(
            auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            # No TaskGroup: before Python 3.13 it loses a cancellation that arrives together with
            # the failure of a task (python/cpython issue 116720), and would be begun again.
            tasks = [
                asyncio.create_task(source.keep_fresh(session, self._jitter))
                for source in self.sources.values()
            ]
            try:
                ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            finally:
                await end_tasks(tasks)
        for task in ended:
            task.result()

    async def verify(self, need: TokenNeed) -> VerifiedToken | Denial:
        """The verdict on a token; an unknown key may first be asked for."""
        verdict = self._verify(need)
        if not isinstance(verdict, Denial) or verdict.reason not in _WORTH_A_FETCH:
            return verdict
        source = self.sources.get(_claimed_issuer(need.token))
        if source is None:
            return verdict
        await source.ask()
        verdict = self._verify(need)
        if (
            isinstance(verdict, Denial)
            and verdict.reason is Reason.UNKNOWN_KEY
            and source.is_failing
        ):
            # Nobody knows whether the issuer has the key by now: 503, never 401 (PROMISES 18).
            return Denial(Reason.KEYS_UNAVAILABLE, "the issuer's keys cannot be fetched")
        return verdict

    def _verify(self, need: TokenNeed) -> VerifiedToken | Denial:
        return verify(need.token, self.issuers, self.keysets, self._wall())


def _claimed_issuer(compact: str) -> str:
    """The `iss` of a token that nobody has verified: only good for choosing whose keys to fetch."""
    try:
        payload = compact.split(".")[1]
        claims = msgspec.json.decode(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (msgspec.MsgspecError, ValueError, IndexError, RecursionError):
        return ""
    claimed = claims.get("iss") if isinstance(claims, dict) else None
    return claimed if isinstance(claimed, str) else ""

"""Keys of issuers: from an issuer that answers anything, and from a file."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp.web
import pytest
from joserfc import jws
from joserfc.jwk import ECKey

from sidecar.model.decision import Denial
from sidecar.model.facts import VerifiedToken
from sidecar.model.need import TokenNeed
from sidecar.model.reason import Reason
from sidecar.settings.schema import Issuer, Jwks
from sidecar.sync.jwks import Keys, _claimed_issuer

NOW = 1_800_000_000.0
ISSUER = "https://id.example"


def key(name: str) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": name, "alg": "ES256", "use": "sig"})


def document(*keys: ECKey) -> bytes:
    return json.dumps({"keys": [each.as_dict(private=False) for each in keys]}).encode()


def token(signer: ECKey, name: str | None = None, issuer: str = ISSUER) -> TokenNeed:
    claims = {"iss": issuer, "sub": "alice", "aud": "app", "exp": NOW + 60}
    header = {"alg": "ES256", "kid": name or signer.kid}
    compact = jws.serialize_compact(header, json.dumps(claims), signer)
    return TokenNeed(compact.encode()[-16:], compact)


class Memory:
    """Writes down which keys stay valid."""

    def __init__(self) -> None:
        self.dropped: list[set[str]] = []

    def drop_tokens_of_key(self, issuer: str, key_ids_still_valid: AbstractSet[str]) -> None:
        assert issuer == ISSUER
        self.dropped.append(set(key_ids_still_valid))


class Clock:
    now = 100.0


Answer = Callable[[aiohttp.web.Request], Awaitable[aiohttp.web.StreamResponse]]


class Provider:
    """An identity provider that answers what the test says."""

    def __init__(self) -> None:
        self.body = b""
        self.answer: Answer | None = None
        self.requests = 0
        self.url = ""

    async def respond(self, request: aiohttp.web.BaseRequest) -> aiohttp.web.StreamResponse:
        self.requests += 1
        assert isinstance(request, aiohttp.web.Request)
        if self.answer is not None:
            return await self.answer(request)
        return aiohttp.web.Response(body=self.body)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    one = Provider()
    application = aiohttp.web.Application()
    application.router.add_get("/{tail:.*}", one.respond)
    runner = aiohttp.web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    one.url = f"http://{host}:{port}/keys"
    yield one
    await runner.cleanup()


class World:
    def __init__(self, jwks: Jwks) -> None:
        self.memory = Memory()
        self.clock = Clock()
        issuer = Issuer(
            issuer=ISSUER, audiences=("app",), jwks=jwks, tenant="acme", algorithms=("ES256",)
        )
        self.keys = Keys(
            [issuer],
            self.memory,
            instant=lambda: self.clock.now,
            wall=lambda: NOW,
            jitter=lambda: 0.0,
        )
        self.source = self.keys.sources[ISSUER]

    @asynccontextmanager
    async def running(self) -> AsyncIterator["World"]:
        task = asyncio.create_task(self.keys.run())
        try:
            async with asyncio.timeout(10):
                while self.source.fetches == 0 or self.source._running:
                    await asyncio.sleep(0)
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def reason(self, need: TokenNeed) -> Reason | None:
        verdict = await self.keys.verify(need)
        return verdict.reason if isinstance(verdict, Denial) else None


async def test_a_known_key_verifies(provider: Provider) -> None:
    one = key("one")
    provider.body = document(one)
    async with World(Jwks(url=provider.url)).running() as world:
        verdict = await world.keys.verify(token(one))
        assert isinstance(verdict, VerifiedToken)
        assert (verdict.subject, verdict.key_id) == ("alice", "one")
        assert provider.requests == 1


async def test_unknown_keys_cause_one_fetch_in_an_interval(provider: Provider) -> None:
    one, two = key("one"), key("two")
    provider.body = document(one)
    async with World(Jwks(url=provider.url)).running() as world:
        world.clock.now += 11
        strangers = [token(two, f"stranger{number}") for number in range(20)]
        reasons = await asyncio.gather(*map(world.reason, strangers))
        assert reasons == [Reason.UNKNOWN_KEY] * 20
        assert provider.requests == 2
        provider.body = document(one, two)
        assert await world.reason(token(two)) is Reason.UNKNOWN_KEY
        assert provider.requests == 2
        world.clock.now += 11
        assert await world.reason(token(two)) is None
        assert provider.requests == 3


async def test_a_key_nobody_can_ask_about_is_no_refusal(provider: Provider) -> None:
    """The issuer may have rotated and be down: 503, never 401 (PROMISES 18)."""
    one, two = key("one"), key("two")
    provider.body = document(one)
    async with World(Jwks(url=provider.url)).running() as world:
        world.clock.now += 11
        provider.body = b"oops"
        for _ in range(3):
            assert await world.reason(token(two)) is Reason.KEYS_UNAVAILABLE
        assert await world.reason(token(one)) is None, "what is known goes on"
        world.clock.now += 11
        provider.body = document(one, two)
        assert await world.reason(token(two)) is None


async def test_other_refusals_cause_no_fetch(provider: Provider) -> None:
    one = key("one")
    provider.body = document(one)
    async with World(Jwks(url=provider.url)).running() as world:
        world.clock.now += 11
        assert await world.reason(token(key("one"))) is Reason.BAD_SIGNATURE
        assert await world.reason(token(one, issuer="https://other")) is Reason.UNKNOWN_ISSUER
        assert await world.reason(TokenNeed(b"", "x")) is Reason.MALFORMED_CREDENTIAL
        assert provider.requests == 1


async def test_removed_and_replaced_keys_end_their_tokens(provider: Provider) -> None:
    one, two, three = key("one"), key("two"), key("three")
    provider.body = document(one, two, three)
    async with World(Jwks(url=provider.url)).running() as world:
        provider.body = document(one, key("two"))
        assert await world.source.refresh()
        assert world.memory.dropped == [set(), {"one"}]
        assert await world.reason(token(three)) is Reason.UNKNOWN_KEY
        assert await world.reason(token(two)) is Reason.BAD_SIGNATURE


async def test_an_issuer_that_is_down_hinders_nothing() -> None:
    async with World(Jwks(url="http://127.0.0.1:1/keys")).running() as world:
        assert await world.reason(token(key("one"))) is Reason.KEYS_UNAVAILABLE
        assert world.keys.keysets == {}
        assert world.memory.dropped == []


async def redirected(_: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
    raise aiohttp.web.HTTPFound("/elsewhere")


async def failed(_: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
    return aiohttp.web.Response(status=500)


async def huge(_: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
    return aiohttp.web.Response(body=b" " * 600_000)


async def compressed(_: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
    return aiohttp.web.Response(body=b"\x1f\x8bgarbage", headers={"Content-Encoding": "gzip"})


async def other(_: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
    return aiohttp.web.Response(body=b"<html>")


async def slow(_: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize("answer", [redirected, failed, huge, compressed, other, slow])
async def test_whatever_else_it_answers_the_old_keys_stay(
    provider: Provider, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    one = key("one")
    provider.body = document(one)
    async with World(Jwks(url=provider.url, fetch_seconds=0.2)).running() as world:
        provider.answer = answer
        assert not await world.source.refresh()
        assert not await world.source.refresh()
        assert await world.reason(token(one)) is None
        # Once for each outage.
        assert len([line for line in caplog.messages if "could not be fetched" in line]) == 1
        provider.answer = None
        assert await world.source.refresh()


async def test_a_key_that_cannot_be_used_is_named(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    provider.body = json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}).encode()
    async with World(Jwks(url=provider.url)).running():
        assert "is not used" in caplog.text


async def test_keys_are_fetched_again_in_the_background(provider: Provider) -> None:
    provider.body = document(key("one"))
    async with World(Jwks(url=provider.url, refresh_seconds=0.01)).running(), asyncio.timeout(10):
        while provider.requests < 3:
            await asyncio.sleep(0)


async def test_a_file_is_read_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.sync.jwks._FILE_POLL_SECONDS", 0.01)
    one, two = key("one"), key("two")
    file = tmp_path / "keys.json"
    file.write_bytes(document(one))
    async with World(Jwks(file=str(file))).running() as world, asyncio.timeout(10):
        assert await world.reason(token(one)) is None
        # As Kubernetes does it: another file takes the name.
        fresh = tmp_path / "fresh.json"
        fresh.write_bytes(document(two))
        fresh.replace(file)
        while await world.reason(token(two)) is not None:
            await asyncio.sleep(0)
        assert await world.reason(token(one)) is Reason.UNKNOWN_KEY
        fetches = world.source.fetches
        file.unlink()
        while world.source.fetches == fetches:
            await asyncio.sleep(0)
        assert await world.reason(token(two)) is None


async def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(b" " * 600_000)
    async with World(Jwks(file=str(file))).running() as world:
        assert await world.reason(token(key("one"))) is Reason.KEYS_UNAVAILABLE


async def test_before_the_start_there_are_no_keys() -> None:
    world = World(Jwks(url="http://127.0.0.1:1/"))
    assert await world.reason(token(key("one"))) is Reason.KEYS_UNAVAILABLE


async def test_without_issuers_there_is_nothing_to_do() -> None:
    keys = Keys([], Memory(), instant=lambda: 0, wall=lambda: 0, jitter=lambda: 0)
    await keys.run()
    assert keys.keysets == {}


class Broken:
    """The keys of an issuer, with a fault of ours that shows when it is told to."""

    def __init__(self, *, fails: bool) -> None:
        self.is_told = asyncio.Event()
        self.is_running = False
        self._fails = fails

    async def keep_fresh(self, _session: object, _jitter: object) -> None:
        self.is_running = True
        try:
            await self.is_told.wait()
            assert not self._fails, "a fault of ours"
            await asyncio.Event().wait()
        finally:
            self.is_running = False


async def broken(keys: Keys) -> tuple[asyncio.Task[None], Broken, Broken]:
    """A task that runs `keys`; two issuers of it, of which the first will fail."""
    bad, good = Broken(fails=True), Broken(fails=False)
    keys.sources = {"bad": bad, "good": good}  # type: ignore[dict-item] # all that `run` asks of them
    task = asyncio.create_task(keys.run())
    while not good.is_running:
        await asyncio.sleep(0)
    return task, bad, good


async def test_a_fault_ends_the_others_and_is_told() -> None:
    keys = World(Jwks(url="http://127.0.0.1:1/")).keys
    task, bad, good = await broken(keys)
    bad.is_told.set()
    with pytest.raises(AssertionError, match="a fault of ours"):
        await task
    assert not good.is_running


async def test_a_cancellation_that_comes_with_a_fault_is_not_lost() -> None:
    """Whoever runs this begins again after a fault, and would never end."""
    keys = World(Jwks(url="http://127.0.0.1:1/")).keys
    for turns in range(20):
        task, bad, good = await broken(keys)
        bad.is_told.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        was_running = task.cancel()
        await asyncio.wait({task})
        assert task.cancelled() is was_running
        assert not good.is_running
        if not was_running:
            assert isinstance(task.exception(), AssertionError)
            return
    pytest.fail("the fault did not end it")


@pytest.mark.parametrize(
    ("payload", "claimed"),
    [(b'{"iss": "x"}', "x"), (b'{"iss": 1}', ""), (b"[]", ""), (b"{", ""), (b"\xff", "")],
)
def test_the_claimed_issuer_of_anything(payload: bytes, claimed: str) -> None:
    encoded = base64.urlsafe_b64encode(payload).decode().rstrip("=")
    assert _claimed_issuer(f"a.{encoded}.c") == claimed
    assert _claimed_issuer("a") == ""

"""Our endpoints for clients, spoken to as the relay does: with our own identity fields."""

from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestClient, TestServer

from sidecar.endpoints.own import OwnEndpoints
from sidecar.forward.in_process import inner_identity
from sidecar.model.decision import Principal
from sidecar.model.errors import StoresUnavailable
from tests.plane import fields_of

PRINCIPAL = Principal("acme", "ann é", ("a,b", "clerk"), "session", "s1", 2e9)


def identity(principal: Principal = PRINCIPAL) -> dict[str, str]:
    return fields_of(b"GET\r\n" + inner_identity(principal) + b"\r\n")


class Ending:
    def __init__(self) -> None:
        self.ended: list[tuple[str, str]] = []
        self.fails = False

    async def __call__(self, tenant: str, session: str) -> bool:
        if self.fails:
            raise StoresUnavailable("gone")
        self.ended.append((tenant, session))
        return True


@pytest.fixture
def ending() -> Ending:
    return Ending()


@pytest.fixture
async def client(ending: Ending) -> AsyncIterator[TestClient]:  # type: ignore[type-arg]  # of any app
    async with TestClient(TestServer(OwnEndpoints(ending, "cookie").application())) as opened:
        yield opened


async def test_who_am_i(client: TestClient) -> None:  # type: ignore[type-arg]  # of any app
    answer = await client.get("/_sidecar/me", headers=identity())
    assert await answer.json() == {
        "tenant": "acme",
        "subject": "ann é",
        "roles": ["a,b", "clerk"],
        "credential": "session",
        "expires_at": 2e9,
    }
    nobody = Principal("acme", "x", (), "token", "", 2e9)
    answer = await client.get("/_sidecar/me", headers=identity(nobody))
    assert (await answer.json())["roles"] == []


async def test_signing_out_revokes_the_session_and_clears_the_cookie(
    client: TestClient,  # type: ignore[type-arg]  # of any app
    ending: Ending,
) -> None:
    answer = await client.post("/_sidecar/sign-out", headers=identity())
    assert answer.status == 204
    assert ending.ended == [("acme", "s1")]
    assert 'cookie=""' in answer.headers["Set-Cookie"]


@pytest.mark.parametrize(
    "fields",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_another_site_cannot_sign_somebody_out(
    client: TestClient,  # type: ignore[type-arg]  # of any app
    ending: Ending,
    fields: dict[str, str],
) -> None:
    answer = await client.post("/_sidecar/sign-out", headers=identity() | fields)
    assert answer.status == 403
    assert ending.ended == []


async def test_the_same_site_can(client: TestClient, ending: Ending) -> None:  # type: ignore[type-arg]  # of any app
    host = f"{client.host}:{client.port}"
    for fields in ({"Origin": f"http://{host}"}, {"Sec-Fetch-Site": "same-origin"}):
        answer = await client.post("/_sidecar/sign-out", headers=identity() | fields)
        assert answer.status == 204
    assert len(ending.ended) == 2


async def test_a_token_is_not_ours_to_revoke(client: TestClient) -> None:  # type: ignore[type-arg]  # of any app
    token = Principal("acme", "ann", (), "token", "", 2e9)
    answer = await client.post("/_sidecar/sign-out", headers=identity(token))
    assert answer.status == 409


async def test_a_revocation_that_was_not_stored_is_no_success(
    client: TestClient,  # type: ignore[type-arg]  # of any app
    ending: Ending,
) -> None:
    """PROMISES 16."""
    ending.fails = True
    answer = await client.post("/_sidecar/sign-out", headers=identity())
    assert answer.status == 503
    assert "Set-Cookie" not in answer.headers

"""Open redirects: the only redirect of ours goes to the sign-in page, with a path to come back to.

Whatever stands in the request, that path is one of this host: it begins with one slash, and no
browser takes it for an authority.
"""

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from sidecar.settings.schema import Credentials, RouteRule
from tests.plane import running_plane

CREDENTIALS = Credentials(token_key="k" * 32, sign_in_url="/sign-in?next={target}")
ROUTES = (
    RouteRule(path="/", access="authenticated"),
    RouteRule(path="/{rest*}", access="authenticated"),
)
# What tricks of open redirects are made of; some are refused before anything is looked up.
TARGETS = [
    "/a",
    "/a?next=//evil.example",
    "//evil.example",
    "//evil.example/%2f..",
    "///evil.example",
    "////evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\\/evil.example",
    "/%5cevil.example",
    "/%2f%2fevil.example",
    "/%2fevil.example",
    "/.evil.example",
    "/..//evil.example",
    "/;//evil.example",
    "/%09/evil.example",
    "/%0d/evil.example",
    "/%0aLocation:%20//evil.example",
    "/%0d%0aSet-Cookie:%20a=b",
    "/?%0d%0aSet-Cookie:%20a=b",
    "/%E5%98%8D%E5%98%8ALocation:x",
    "http://evil.example/",
    "https:evil.example",
    "http:/\\evil.example",
    "javascript:alert(1)",
    "/javascript:alert(1)",
    "/http://evil.example",
    "/@evil.example",
    "/a@evil.example",
    "/%40evil.example",
    "/.",
    "/%2e%2e",
    "/?//evil.example",
    "/?http://evil.example",
    "/&next=//evil.example",
    "/a&next=//evil.example",
    "/a%26next=//evil.example",
    "/%23@evil.example",
    "/?#@evil.example",
    "http://app.example@evil.example/",
    "http://app.example/a",
    "/\u3002evil.example",
    "/%E3%80%82evil.example",
    "/{target}",
    "/<script>alert(1)</script>",
]


@pytest.mark.parametrize(
    "forged", ["", "X-Forwarded-Host: evil.example", "Referer: //evil.example"]
)
async def test_the_way_back_is_a_path_of_this_host(forged: str) -> None:
    seen = set()
    async with running_plane("http://127.0.0.1:9", credentials=CREDENTIALS, routes=ROUTES) as plane:
        for target in TARGETS:
            client = await plane.client()
            fields = ("Sec-Fetch-Mode: navigate", *filter(None, (forged,)))
            response = await client.get(target.encode().decode("latin-1"), *fields)
            client.close()
            seen.add(response.status)
            assert response.status in {302, 400}, target
            assert "evil" not in "".join(
                value for name, value in response.fields.items() if name != "location"
            )
            if response.status == 302:
                location = urlsplit(response.fields["location"])
                assert (location.scheme, location.netloc, location.path) == ("", "", "/sign-in")
                queries = parse_qs(location.query, strict_parsing=True)
                assert list(queries) == ["next"]
                (back,) = queries["next"]
                assert re.match(r"/(?![/\\])", back), back
                assert urlsplit(back).netloc == ""
    assert seen == {302, 400}

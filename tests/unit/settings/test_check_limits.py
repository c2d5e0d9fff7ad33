"""Limits and policies for pages of other sites: what is refused before it takes effect."""

import pytest

from sidecar.settings.load import parse
from sidecar.settings.problem import SettingsError
from sidecar.settings.schema import Breaker, CorsRule, Rate, Root

PARTS = {
    "upstreams": '{app: {url: "http://127.0.0.1:9000"}}',
    "credentials": '{token_key: "0123456789abcdef0123456789abcdef"}',
    "routes": "[{path: /, access: authenticated}]",
    "stores": '{postgres: {dsn: "postgresql://db/sidecar"}}',
}


def settings(**parts: str) -> Root:
    text = "".join(f"{name}: {value}\n" for name, value in (PARTS | parts).items())
    return parse(text, environ={})


def problems(**parts: str) -> list[str]:
    """What is wrong, without its place."""
    with pytest.raises(SettingsError) as caught:
        settings(**parts)
    return [str(problem).split(": ", 1)[1] for problem in caught.value.problems]


def route(text: str) -> str:
    return f"[{{path: /, {text}}}]"


RATE = "{per: address, requests: 5}"

LIMITS = {
    f"{{rates: {{'a b': {RATE}}}}}": (
        'limits.rates["a b"]: the name of a limit has letters, digits, `-`, `_` and `.` only'
    ),
    "{rates: {a: {per: user, requests: 5}}}": (
        "limits.rates.a.per: must be one of address, principal, route"
    ),
    "{rates: {a: {per: address}}}": "limits.rates.a.requests: is required",
    "{rates: {a: {per: address, requests: 0}}}": (
        "limits.rates.a.requests: must be a whole number of at least 1"
    ),
    "{rates: {a: {per: address, requests: 5, seconds: 0}}}": (
        "limits.rates.a.seconds: must be a number greater than 0"
    ),
    "{rates: {a: {per: address, requests: 5, burst: 0}}}": (
        "limits.rates.a.burst: must be a whole number of at least 1"
    ),
    "{rates: {a: {per: address, requests: 5, seconds: 86401}}}": (
        "limits.rates.a.seconds: must be at most a day: counts are kept in memory and end with "
        "the process"
    ),
    "{requests: 0}": "limits.requests: must be a whole number of at least 1",
    "{rate_fields: never}": "limits.rate_fields: must be one of always, refusals",
    "{buckets: 0}": "limits.buckets: must be a whole number of at least 1",
}


@pytest.mark.parametrize(("text", "message"), LIMITS.items())
def test_limits_that_are_wrong(text: str, message: str) -> None:
    (problem,) = problems(limits=text)
    assert problem.startswith(message)


ROUTES = {
    "access: public, rates: {a: {per: principal, requests: 5}}": (
        "routes[0].rates.a.per: has no meaning on a public route: nobody is asked who they are"
    ),
    f"access: authenticated, conceal: true, rates: {{a: {RATE}}}": (
        "routes[0].rates.a.per: 429 before anybody is known would tell that the concealed route "
        "exists: put the limit under limits.rates"
    ),
    "access: public, cors: {}": "routes[0].cors.origins: is required",
    "access: public, cors: {origins: []}": "routes[0].cors.origins: must not be empty",
    "access: public, cors: {origins: ['*'], credentials: true}": (
        "routes[0].cors.origins[0]: any page could act as whoever is signed in: name the origins, "
        "or leave out `credentials`"
    ),
    "access: public, cors: {origins: ['*', 'https://a.example']}": (
        "routes[0].cors.origins[0]: means all of them: give it alone"
    ),
    "access: public, cors: {origins: ['https://A.example/']}": (
        "routes[0].cors.origins[0]: must be an origin as browsers write it, such as "
        "https://app.example (did you mean https://a.example?)"
    ),
    "access: public, cors: {origins: [a.example]}": (
        "routes[0].cors.origins[0]: must be an origin as browsers write it, such as "
        "https://app.example (did you mean https://a.example?)"
    ),
    "access: public, cors: {origins: ['https://*.example']}": (
        "routes[0].cors.origins[0]: must be an origin as browsers write it, such as "
        "https://app.example"
    ),
    "access: public, cors: {origins: ['https://a.example/path']}": (
        "routes[0].cors.origins[0]: must be an origin"
    ),
    "access: public, cors: {origins: ['https://a.example:443']}": (
        "routes[0].cors.origins[0]: browsers leave out the port that its scheme has anyway (did "
        "you mean https://a.example?)"
    ),
    "access: public, cors: {origins: ['https://a.example'], methods: [put]}": (
        "routes[0].cors.methods[0]: must be a method in upper case (did you mean PUT?)"
    ),
    "access: public, cors: {origins: ['https://a.example'], headers: ['*']}": (
        "routes[0].cors.headers[0]: must be the name of a field; each is named, there is no `*`"
    ),
    "access: public, cors: {origins: ['https://a.example', 'null'], credentials: true}": (
        "routes[0].cors.origins[1]: any page can be without an origin (a sandboxed frame)"
    ),
    "access: public, cors: {origins: ['https://a.example'], exposed: ['a b']}": (
        "routes[0].cors.exposed[0]: must be the name of a field"
    ),
    "access: public, cors: {origins: ['https://a.example'], max_age_seconds: -1}": (
        "routes[0].cors.max_age_seconds: must be"
    ),
    "access: public, cors: {origins: ['https://a.example']}, preflight: forward": (
        "routes[0].preflight: either we answer preflights (cors) or the application does (forward)"
    ),
    "access: authenticated, conceal: true, cors: {origins: ['https://a.example']}": (
        "routes[0].cors: a preflight would tell that the concealed route exists"
    ),
    "access: authenticated, methods: [OPTIONS, PUT], preflight: forward": (
        "routes[0].preflight: the route names OPTIONS, and so decides itself who may send it: "
        "leave out one"
    ),
    "access: authenticated, conceal: true, preflight: forward": (
        "routes[0].preflight: a preflight would tell that the concealed route exists"
    ),
}


@pytest.mark.parametrize(("text", "message"), ROUTES.items())
def test_routes_that_are_wrong(text: str, message: str) -> None:
    (problem,) = problems(routes=route(text))
    assert problem.startswith(message)


def test_a_limit_of_a_route_has_a_name_of_its_own() -> None:
    (problem,) = problems(
        limits=f"{{rates: {{a: {RATE}}}}}",
        routes=route(f"access: public, rates: {{a: {RATE}}}"),
    )
    assert problem == "routes[0].rates.a: the same name as one of limits.rates"


def test_origins_that_browsers_have() -> None:
    origins = (
        "https://app.example", "http://localhost:3000", "http://[::1]:8080", "null",
        "capacitor://localhost", "chrome-extension://abcdef",
    )  # fmt: skip
    text = ", ".join(f"'{origin}'" for origin in origins)
    root = settings(routes=route(f"access: public, cors: {{origins: [{text}]}}"))
    assert root.routes[0].cors == CorsRule(origins=origins)


def test_a_breaker_is_off_unless_it_is_given() -> None:
    assert settings().upstreams["app"].breaker is None
    root = settings(upstreams='{app: {url: "http://127.0.0.1:9000", breaker: {}}}')
    assert root.upstreams["app"].breaker == Breaker()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{open_seconds: 40}",
            "upstreams.app.breaker.longest_open_seconds: must be at least open_seconds",
        ),
        ("{share: 0}", "upstreams.app.breaker.share: must be"),
        ("{failures: 0}", "upstreams.app.breaker.failures: must be"),
        ("{statuses: [404]}", "upstreams.app.breaker.statuses[0]: must be"),
    ],
)
def test_breakers_that_are_wrong(text: str, message: str) -> None:
    url = '"http://127.0.0.1:9000"'
    (problem,) = problems(upstreams=f"{{app: {{url: {url}, breaker: {text}}}}}")
    assert problem.startswith(message)


def test_limits_that_are_right() -> None:
    root = settings(limits=f"{{rates: {{floods: {RATE}}}, rate_fields: always}}")
    assert root.limits.rates == {"floods": Rate(per="address", requests=5)}

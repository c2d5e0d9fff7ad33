"""Topologies of Redis: what each needs, and what means nothing to it."""

import pytest

from sidecar.settings.load import parse
from sidecar.settings.problem import SettingsError
from sidecar.settings.schema import Redis

FILE = """\
upstreams: {app: {url: "http://127.0.0.1:9000"}}
credentials: {token_key: "0123456789abcdef0123456789abcdef"}
routes: [{path: /, access: public}]
stores:
  postgres: {dsn: "postgresql://db/sidecar"}
  redis: {%s}
"""
SENTINELS = "topology: sentinel, nodes: [s1:26379, 's2:26379']"
CLUSTER = "topology: cluster, nodes: ['n1:6379', '[::1]:6380']"


def problems(redis: str) -> list[str]:
    """What is wrong, without the place within the line."""
    with pytest.raises(SettingsError) as caught:
        parse(FILE % redis, environ={}, file="f")
    found = [str(problem).split(": ", 1)[1] for problem in caught.value.problems]
    return [each.removeprefix("stores.redis.") for each in found]


@pytest.mark.parametrize(
    ("redis", "expected"),
    [
        (
            "connections: 2",
            ["url: is required with topology standalone; others than standalone need nodes"],
        ),
        (
            "topology: sentinal, url: 'redis://h'",
            ["topology: must be one of cluster, sentinel, standalone (did you mean sentinel?)"],
        ),
        (
            "url: 'redis://h', nodes: ['a:1']",
            ["nodes: belongs to topology sentinel or cluster; this is standalone"],
        ),
        (
            "url: 'redis://h', service: s",
            ["service: belongs to topology sentinel; this is standalone"],
        ),
        (
            "url: 'redis://h', password: s, tls: true",
            [
                "password: belongs to topology sentinel or cluster; this is standalone",
                "tls: belongs to topology sentinel or cluster; this is standalone",
            ],
        ),
        ("topology: sentinel, service: s", ["nodes: is required with topology sentinel"]),
        (SENTINELS, ["service: is required with topology sentinel"]),
        (
            SENTINELS + ", service: 'a b'",
            [
                (
                    "service: must be 1 to 64 letters, digits and `_`, `.`, `-`: the name in "
                    "`sentinel monitor`"
                )
            ],
        ),
        (
            SENTINELS + ", service: s, url: 'redis://h'",
            ["url: belongs to topology standalone; this is sentinel"],
        ),
        ("topology: cluster", ["nodes: is required with topology cluster"]),
        (
            CLUSTER + ", service: s",
            ["service: belongs to topology sentinel; this is cluster"],
        ),
        (
            CLUSTER + ", sentinel_password: s",
            ["sentinel_password: belongs to topology sentinel; this is cluster"],
        ),
        (
            CLUSTER + ", database: 1",
            ["database: belongs to topology sentinel; this is cluster"],
        ),
        (CLUSTER + ", username: u", ["username: needs a password"]),
        (
            "topology: cluster, nodes: ['redis://:hunter2@h:1']",
            ["nodes[0]: must be host:port alone: TLS and passwords have settings of their own"],
        ),
        (
            "topology: cluster, nodes: ['unix:/run/r']",
            ["nodes[0]: must be host:port alone: TLS and passwords have settings of their own"],
        ),
        (
            "topology: cluster, nodes: ['a:1', 'b', 'c:0']",
            [
                "nodes[1]: must be host:port or [v6]:port",
                "nodes[2]: must be host:port with a port from 1 to 65535",
            ],
        ),
        (
            SENTINELS + ", service: s, database: -1",
            ["database: must be a whole number from 0 to 9999"],
        ),
    ],
)
def test_what_does_not_go_together_is_told(redis: str, expected: list[str]) -> None:
    assert problems(redis) == expected


@pytest.mark.parametrize(
    "redis",
    [
        SENTINELS
        + ", service: mymaster, password: p, sentinel_password: q, tls: true, database: 3",
        SENTINELS + ", service: mymaster",
        CLUSTER + ", username: u, password: p, tls: true",
        "topology: standalone, url: 'redis://h'",
    ],
)
def test_what_goes_together_is_accepted(redis: str) -> None:
    found = parse(FILE % redis, environ={}).stores.redis
    assert isinstance(found, Redis)
    assert found.topology in redis

"""Each wrong configuration is told in full: the place, the setting, the words."""

from pathlib import Path

import pytest

from sidecar.settings.load import load, parse
from sidecar.settings.problem import SettingsError
from sidecar.settings.schema import Root

ENVIRON = {
    "DSN": "postgresql://sidecar:hunter2@db/sidecar",
    "KEY": "0123456789abcdef0123456789abcdef",
    "REDIS": "redis://:hunter2@cache:6379/0",
    "FIVE": "5",
    "YES": "true",
    "WORD": "word",
}

GOOD = """\
upstreams:
  app:
    url: http://127.0.0.1:9000
stores:
  postgres:
    dsn: ${DSN}
credentials:
  token_key: ${KEY}
routes:
  - path: /
    access: public
"""
LINES = len(GOOD.splitlines())


def problems(text: str) -> list[str]:
    """What is wrong with `text`, one line each, without the file's name."""
    with pytest.raises(SettingsError) as caught:
        parse(text, environ=ENVIRON, file="f")
    return [str(problem).removeprefix("f:") for problem in caught.value.problems]


def test_the_least_configuration_is_accepted() -> None:
    root = parse(GOOD, environ=ENVIRON)
    assert isinstance(root, Root)
    assert root.upstreams["app"].url == "http://127.0.0.1:9000"
    assert root.stores.postgres.dsn == ENVIRON["DSN"]
    assert root.stores.redis is None
    assert root.routes[0].access == "public"


# Appended to GOOD: (text, problem; line numbers count from the first appended line).
APPENDED = {
    "unknown section": ("cach: {}", "1:1: cach: unknown key (did you mean cache?)"),
    "unknown key": (
        "cache: {sesions: 5}",
        "1:9: cache.sesions: unknown key (did you mean sessions?)",
    ),
    "unknown key, nothing near": (
        "audit: {zzz: 5}",
        "1:9: audit.zzz: unknown key; known here: sink, permits, flush_seconds",
    ),
    "a space is missing": (
        "audit: {sink:stdout}",
        "1:9: audit.sink: a space is missing after the `:`",
    ),
    "version": ("version: 2", "1:10: version: must be 1"),
    "text for a number": (
        "cache: {users: many}",
        "1:16: cache.users: must be a whole number of at least 1",
    ),
    "zero": ("cache: {users: 0}", "1:16: cache.users: must be a whole number of at least 1"),
    "fraction": ("cache: {users: 1.5}", "1:16: cache.users: must be a whole number of at least 1"),
    "range": (
        "listen: {limits: {head_bytes: 5}}",
        "1:31: listen.limits.head_bytes: must be a whole number from 1024 to 1048576",
    ),
    "octal": (
        "cache: {users: 010}",
        (
            "1:16: cache.users: must be a whole number of at least 1: YAML reads a leading 0 "
            "as octal, "
            "so leave it out"
        ),
    ),
    "hexadecimal": (
        "cache: {users: 0x10}",
        "1:16: cache.users: must be a whole number of at least 1, in decimal",
    ),
    "underscores": (
        "cache: {users: 1_000}",
        "1:16: cache.users: must be a whole number of at least 1, digits only",
    ),
    "sexagesimal": (
        "cache: {users: 1:30}",
        "1:16: cache.users: must be a whole number of at least 1",
    ),
    "huge": (
        f"cache: {{users: {'9' * 30}}}",
        "1:16: cache.users: must be a whole number of at least 1",
    ),
    "quoted number": (
        'cache: {users: "5"}',
        "1:16: cache.users: must be a whole number of at least 1, without quotes",
    ),
    "negative duration": (
        "cache: {entry_seconds: -1}",
        "1:24: cache.entry_seconds: must be a number greater than 0",
    ),
    "infinite duration": (
        "cache: {entry_seconds: .inf}",
        "1:24: cache.entry_seconds: must be a number greater than 0",
    ),
    "overflowing duration": (
        "cache: {entry_seconds: 1e999}",
        "1:24: cache.entry_seconds: must be a number greater than 0",
    ),
    "not a number": (
        "cache: {entry_seconds: .nan}",
        "1:24: cache.entry_seconds: must be a number greater than 0",
    ),
    "date for text": (
        "help_text: 2026-11-23",
        "1:12: help_text: must be text: YAML reads this as a date; put it in quotes",
    ),
    "yes for true": (
        "features: {memory_cache: yes}",
        "1:26: features.memory_cache: must be true or false (did you mean true?)",
    ),
    "capital true": (
        "features: {memory_cache: True}",
        "1:26: features.memory_cache: must be true or false (did you mean true?)",
    ),
    "number for a truth": (
        "features: {memory_cache: 1}",
        "1:26: features.memory_cache: must be true or false",
    ),
    "no for text": (
        "help_text: no",
        '1:12: help_text: must be text: YAML reads no as true or false; write "no" with the quotes',
    ),
    "off for a choice": (
        "forwarded: {traceparent: off}",
        (
            "1:26: forwarded.traceparent: must be one of keep, new, off: YAML reads off as true or "
            'false; write "off" with the quotes'
        ),
    ),
    "number for text": (
        "help_text: 5",
        "1:12: help_text: must be text: YAML reads this as a number; put it in quotes",
    ),
    "nothing for text": ("help_text:", "1:11: help_text: must be text: nothing is given"),
    "list for text": ("help_text: [a]", "1:1: help_text: must be text, not a list"),
    "section for text": ("help_text: {a: b}", "1:1: help_text: must be text, not a section"),
    "near choice": (
        "forwarded: {traceparent: keeps}",
        "1:26: forwarded.traceparent: must be one of keep, new, off (did you mean keep?)",
    ),
    "text for a list": (
        "forwarded: {trusted: unix}",
        "1:22: forwarded.trusted: must be a list: put [ ] around it",
    ),
    "nothing for a list": ("forwarded:\n  trusted:", "2:11: forwarded.trusted: must be a list"),
    "nothing for a section": (
        "listen:",
        "1:8: listen: must be a section with keys such as address, backlog, limits",
    ),
    "given twice": (
        "help_text: a\nhelp_text: b",
        f"2:1: help_text: the key is given twice; first in line {LINES + 1}",
    ),
    "tag": (
        "help_text: !!str a",
        "1:12: help_text: tags (`!...`) are not supported: write the value alone",
    ),
    "merge": (
        "cache: {<<: {users: 5}}",
        "1:9: cache: merge keys (`<<`) are not supported: repeat the keys",
    ),
    "numeric key": (
        "5: a",
        "1:1: a key must be text: YAML reads this as a number; put it in quotes",
    ),
    "truth as key": (
        "on: a",
        "1:1: a key must be text: YAML reads this as true or false; put it in quotes",
    ),
    "list as key": ("[a]: b", "1:1: a key must be a word, not a list or section"),
    "missing variable": (
        "help_text: ${WORDS}",
        "1:12: help_text: environment variable WORDS is not set (did you mean WORD?)",
    ),
    "missing file": (
        "help_text: ${file:/nowhere/at/all}",
        "1:12: help_text: file /nowhere/at/all cannot be read: No such file or directory",
    ),
    "open reference": (
        "help_text: ${WORD",
        "1:12: help_text: `${` without `}`; write `$${` for the two characters themselves",
    ),
    "reference of another kind": (
        "help_text: ${WORD:-x}",
        (
            "1:12: help_text: between `${` and `}` stands the name of an environment variable, or "
            "`file:` and a path"
        ),
    ),
    "listen without port": (
        "listen: {address: localhost}",
        "1:19: listen.address: must be host:port, [v6]:port or unix:/path",
    ),
    "port as listen": (
        "listen: {address: 8080}",
        "1:19: listen.address: must be text: YAML reads this as a number; put it in quotes",
    ),
    "admin is listen": (
        "admin: {address: localhost:8080}",
        (
            "1:18: admin.address: must not be listen.address: administration is never reachable "
            "through the traffic listener"
        ),
    ),
    "too few for operators": (
        "admin: {connections: 3}",
        "1:22: admin.connections: must be a whole number from 4 to 1024",
    ),
    "too many for operators": (
        "admin: {connections: 1025}",
        "1:22: admin.connections: must be a whole number from 4 to 1024",
    ),
    "hop-by-hop name": (
        "identity: {user: Connection}",
        '1:18: identity.user: "Connection" cannot be used: it belongs to a single connection',
    ),
    "framing name": (
        "identity: {user: Content-Length}",
        '1:18: identity.user: "Content-Length" cannot be used: it describes the body',
    ),
    "host": (
        "identity: {user: host}",
        '1:18: identity.user: "host" cannot be used: it is part of HTTP itself',
    ),
    "referred name": (
        "identity: {user: '${WORD}', tenant: Word}",
        "1:37: identity.tenant: the same name as identity.user",
    ),
    "underscore": (
        "identity: {user: X_User}",
        (
            "1:18: identity.user: must not contain `_`, which servers confuse with `-` "
            "(did you mean X-User?)"
        ),
    ),
    "no name of a field": (
        "identity: {user: X User}",
        "1:18: identity.user: must be the name of a field: letters, digits and `-` (RFC 9110, 5.1)",
    ),
    "request id is identity": (
        "forwarded: {request_id: x-auth-user}",
        "1:25: forwarded.request_id: the same name as identity.user",
    ),
    "network with host bits": (
        "forwarded: {trusted: [unix, 10.0.0.1/8]}",
        (
            "1:29: forwarded.trusted[1]: must be a network such as 10.0.0.0/8, or unix "
            "(did you mean 10.0.0.0/8?)"
        ),
    ),
    "no network": (
        "forwarded: {trusted: [proxy]}",
        "1:23: forwarded.trusted[0]: must be a network such as 10.0.0.0/8, or unix",
    ),
    "referred network": (
        "forwarded: {trusted: ['${WORD}']}",
        "1:23: forwarded.trusted[0]: must be a network such as 10.0.0.0/8, or unix",
    ),
    "sink": (
        "audit: {sink: stdoud}",
        "1:15: audit.sink: must be stdout, stderr, off or file:/path (did you mean stdout?)",
    ),
    "relative sink": (
        "audit: {sink: file:audit.log}",
        "1:15: audit.sink: must be stdout, stderr, off or file:/path",
    ),
    "help of two lines": (
        'help_text: "a\\nb"',
        "1:12: help_text: must be one line without control characters",
    ),
    "slow heartbeat": (
        "cache: {heartbeat_seconds: 1}",
        (
            "1:28: cache.heartbeat_seconds: must be at most half of lease_seconds, which is "
            "1.5: one "
            "lost heartbeat must not end the lease"
        ),
    ),
    "lifetimes that begin outside their bounds": (
        "cache: {entry_seconds: 5}",
        (
            "1:24: cache.entry_seconds: must be from shortest_entry_seconds to "
            "longest_entry_seconds, which are 15.0 and 300.0: it is where lifetimes begin"
        ),
    ),
    "bounds of lifetimes that cross": (
        "cache: {shortest_entry_seconds: 61}",
        (
            "1:1: cache.entry_seconds: must be from shortest_entry_seconds to "
            "longest_entry_seconds, which are 61.0 and 300.0: it is where lifetimes begin"
        ),
    ),
    "short lease": (
        "cache: {lease_seconds: 0.2, heartbeat_seconds: 0.1}",
        (
            "-7:1: stores.load_seconds: must be less than cache.lease_seconds, which is 0.2: "
            "what is "
            "read must be fresh when it arrives"
        ),
    ),
    "tab": ("cache:\n\tusers: 5", "2:1: a tab: YAML is indented with spaces only"),
    "colon in a value": (
        "help_text: a: b",
        (
            "1:13: a `:` where none can be: check the indentation, and put text with `: ` in it in "
            "quotes"
        ),
    ),
    "open quote": ("help_text: 'a", "2:1: a quote is not closed"),
    "open bracket": ("forwarded: {trusted: [a", "2:1: a `[` is not closed, or a comma is missing"),
    "reference in brackets": (
        "forwarded: {trusted: [${WORD}]}",
        "1:24: a `[` is not closed, or a comma is missing; inside brackets, put ${...} in quotes",
    ),
    "dedent": (
        "cache:\n    users: 5\n  tokens: 5",
        "3:3: the indentation does not fit the lines above",
    ),
    "key alone": ("cache", "2:1: a key without `:` after it"),
    "escape": (
        'help_text: "\\q"',
        "1:14: unknown escape after `\\`; in single quotes `\\` stands for itself",
    ),
    "special character": (
        "help_text: @a",
        "1:12: text that begins with a special character needs quotes",
    ),
    "control character": ("help_text: \x01", "1:12: character U+0001 is not allowed here"),
    "undefined alias": (
        "help_text: *hunter2",
        (
            "1:12: help_text: an alias (`*name`) without its anchor; text that begins with * needs "
            "quotes"
        ),
    ),
    "second document": ("---\nhelp_text: a", "1:1: only one YAML document is allowed in the file"),
    "undefined tag": (
        "help_text: !a!b c",
        "1:12: tags (`!...`) are not supported: write the value alone",
    ),
    "escape out of range": (
        'help_text: "\\UFFFFFFFF"',
        f"{1 - LINES}:1: not valid YAML: a number or an escape is out of range",
    ),
    "directive in between": (
        "help_text: a\n  b: c\n%x",
        (
            "2:4: a `:` where none can be: check the indentation, and put text with `: ` in it in "
            "quotes"
        ),
    ),
}


@pytest.mark.parametrize(("text", "expected"), APPENDED.values(), ids=APPENDED)
def test_a_mistake_is_told_with_its_place(text: str, expected: str) -> None:
    line, rest = expected.split(":", 1)
    assert problems(GOOD + text + "\n") == [f"{int(line) + LINES}:{rest}"]


# Replaced within GOOD: (old, new, problem).
REPLACED = {
    "no upstreams": (
        "\n  app:\n    url: http://127.0.0.1:9000",
        " {}",
        "1:1: upstreams: must not be empty",
    ),
    "upstreams as list": (
        "\n  app:\n    url: http://127.0.0.1:9000",
        " [a]",
        "1:1: upstreams: must be a section of names, each with its own keys",
    ),
    "stores missing": (
        "stores:\n  postgres:\n    dsn: ${DSN}\n",
        "",
        "1:1: stores: is required",
    ),
    "dsn missing": ("dsn: ${DSN}", "pool_max: 2", "5:3: stores.postgres.dsn: is required"),
    "dsn of a standby": (
        "dsn: ${DSN}",
        "dsn: postgresql://db/x?target_session_attrs=prefer-standby",
        (
            "6:10: stores.postgres.dsn: must lead to the primary, since a standby does not know "
            "yet what was revoked: target_session_attrs is read-write or primary, or left out"
        ),
    ),
    "dsn of any server": (
        "dsn: ${DSN}",
        "dsn: host=a,b target_session_attrs = 'any'",
        (
            "6:10: stores.postgres.dsn: must lead to the primary, since a standby does not know "
            "yet what was revoked: target_session_attrs is read-write or primary, or left out"
        ),
    ),
    "dsn": (
        "dsn: ${DSN}",
        "dsn: hunter2",
        (
            "6:10: stores.postgres.dsn: must be postgresql://user:password@host:port/database or "
            "key=value pairs"
        ),
    ),
    "pool": (
        "dsn: ${DSN}",
        "dsn: ${DSN}\n    pool_min: 5",
        "7:15: stores.postgres.pool_min: must be at most pool_max, which is 4",
    ),
    "short key": (
        "${KEY}",
        "hunter2",
        "8:14: credentials.token_key: must be text of at least 32 characters",
    ),
    "short key from the environment": (
        "${KEY}",
        "${WORD}",
        "8:14: credentials.token_key: must be text of at least 32 characters",
    ),
    "scheme of upstream": (
        "http://127.0.0.1:9000",
        "ftp://app",
        ("3:10: upstreams.app.url: must be http://host:port, https://host:port or unix:/path"),
    ),
    "path of upstream": (
        "http://127.0.0.1:9000",
        "http://app:1/api",
        (
            "3:10: upstreams.app.url: must be http://host:port without a path: what was "
            "authorized is "
            "forwarded as it is"
        ),
    ),
    "password of upstream": (
        "http://127.0.0.1:9000",
        "http://me:hunter2@app:1",
        "3:10: upstreams.app.url: must be http://host:port without user and password",
    ),
    "ourselves as upstream": (
        "http://127.0.0.1:9000",
        "http://localhost:8080",
        (
            "3:10: upstreams.app.url: is the address we listen on (listen.address): requests "
            "would go "
            "in circles"
        ),
    ),
    "ourselves among all addresses": (
        "upstreams:",
        "listen: {address: '0.0.0.0:9000'}\nupstreams:",
        (
            "4:10: upstreams.app.url: is the address we listen on (listen.address): requests "
            "would go in circles"
        ),
    ),
    "name of upstream": (
        "  app:",
        "  a b:",
        '2:3: upstreams["a b"]: the name of an upstream has letters, digits, `-`, `_` and `.` only',
    ),
    "unknown upstream": (
        "access: public",
        "access: public\n    upstream: aap",
        '12:15: routes[0].upstream: there is no upstream "aap" (did you mean app?)',
    ),
    "referred upstream": (
        "access: public",
        "access: public\n    upstream: ${WORD}",
        '12:15: routes[0].upstream: there is no upstream "${WORD}"; known are app',
    ),
    "which upstream": (
        "  app:",
        "  other: {url: 'unix:/run/other'}\n  app:",
        "11:5: routes[0].upstream: is required with several upstreams: one of other, app",
    ),
    "a secret as key and a slip": (
        "dsn: ${DSN}",
        "dsn: ${DSN}\n    hunter2:x: 5",
        "7:5: stores.postgres: a space is missing after the `:`",
    ),
    "a secret as key": (
        "dsn: ${DSN}",
        "dsn: ${DSN}\n    hunter2:",
        (
            "7:5: stores.postgres: unknown key; known here: dsn, pool_min, pool_max, "
            "pool_wait_seconds, pool_waiting, statement_seconds"
        ),
    ),
    "a setting misspelt near a secret": (
        "dsn: ${DSN}",
        "dsn: ${DSN}\n    pool_maxx: 5",
        "7:5: stores.postgres.pool_maxx: unknown key (did you mean pool_max?)",
    ),
    "no routes": (
        "\n  - path: /\n    access: public",
        " []",
        "9:1: routes: must not be empty",
    ),
    "a last known good of more than an hour": (
        "access: public",
        "access: authenticated\n    last_known_good_seconds: 3601",
        "12:30: routes[0].last_known_good_seconds: must be a number from 0 to 3600",
    ),
    "a last known good in the past": (
        "access: public",
        "access: authenticated\n    last_known_good_seconds: -1",
        "12:30: routes[0].last_known_good_seconds: must be a number from 0 to 3600",
    ),
    "access": (
        "access: public",
        "access: publik",
        "11:13: routes[0].access: must be one of authenticated, public (did you mean public?)",
    ),
    "route without path": (
        "- path: /\n    access",
        "- access",
        "10:5: routes[0].path: is required",
    ),
    "nobody": (
        "${KEY}",
        "${KEY}\n  session: null",
        "7:1: credentials: accepts nobody: give session, issuers or both",
    ),
    "cookie": (
        "${KEY}",
        "${KEY}\n  session: {cookie: a b}",
        (
            "9:21: credentials.session.cookie: must be the name of a cookie: letters, digits, "
            "`-` and "
            "`_`"
        ),
    ),
    "realm": (
        "${KEY}",
        "${KEY}\n  realm: 'a\"b'",
        '9:10: credentials.realm: must be printable ASCII without `"` and `\\`',
    ),
    "sign in": (
        "${KEY}",
        "${KEY}\n  sign_in_url: login",
        (
            "9:16: credentials.sign_in_url: must be a path such as /sign-in?next={target}, or an "
            "http(s) URL"
        ),
    ),
    "sign in elsewhere": (
        "${KEY}",
        "${KEY}\n  sign_in_url: //login",
        (
            "9:16: credentials.sign_in_url: must be a path such as /sign-in?next={target}, or an "
            "http(s) URL"
        ),
    ),
    "sign in, bad port": (
        "${KEY}",
        "${KEY}\n  sign_in_url: 'http://[login/'",
        (
            "9:16: credentials.sign_in_url: must be a path such as /sign-in?next={target}, or an "
            "http(s) URL"
        ),
    ),
    "placeholder": (
        "${KEY}",
        "${KEY}\n  sign_in_url: /login?{next}",
        "9:16: credentials.sign_in_url: must be a URL in which {target} is the only placeholder",
    ),
    "redis scheme": (
        "stores:",
        "stores:\n  redis: {url: 'http://cache'}",
        (
            "5:16: stores.redis.url: must be redis://host:port, rediss://host:port (TLS) or "
            "unix:///path"
        ),
    ),
    "redis port": (
        "stores:",
        "stores:\n  redis: {url: 'redis://cache:x'}",
        "5:16: stores.redis.url: must be redis://host:port with a valid host and port",
    ),
    "redis database": (
        "stores:",
        "stores:\n  redis: {url: 'redis://cache/a'}",
        (
            "5:16: stores.redis.url: must be redis://host:port/number: after the slash stands a "
            "database's number"
        ),
    ),
    "redis prefix": (
        "stores:",
        "stores:\n  redis: {url: '${REDIS}', prefix: 'a{b}'}",
        "5:36: stores.redis.prefix: must be 1 to 32 letters, digits and `_`, `.`, `:`, `-`",
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), REPLACED.values(), ids=REPLACED)
def test_a_changed_line_is_told_with_its_place(old: str, new: str, expected: str) -> None:
    assert old in GOOD
    assert problems(GOOD.replace(old, new)) == [expected]


ISSUER = """\
  issuers:
    - issuer: https://id.example.com
      audiences: [api]
      tenant: acme
      jwks: {url: 'https://id.example.com/keys'}
"""
SECOND = ISSUER.replace("  issuers:\n", "").replace("id.example", "other.example")

# The issuer begins in line 9 of the file: (old, new, problem).
ISSUERS = {
    "no audience": (
        "[api]",
        "[]",
        "11:7: credentials.issuers[0].audiences: must not be empty",
    ),
    "empty audience": (
        "[api]",
        "['']",
        "11:19: credentials.issuers[0].audiences[0]: must not be empty",
    ),
    "empty name": (
        "https://id.example.com\n",
        "''\n",
        "10:15: credentials.issuers[0].issuer: must not be empty",
    ),
    "symmetric algorithm": (
        "tenant: acme",
        "tenant: acme\n      algorithms: [HS256]",
        (
            "13:20: credentials.issuers[0].algorithms[0]: must be one of ES256, ES384, ES512, "
            "Ed25519, "
            "EdDSA, PS256, PS384, PS512, RS256, RS384, RS512 (did you mean RS256?)"
        ),
    ),
    "no keys": (
        "{url: 'https://id.example.com/keys'}",
        "{}",
        "13:7: credentials.issuers[0].jwks: needs exactly one of url and file; neither is given",
    ),
    "two places of keys": (
        "{url:",
        "{file: a, url:",
        "13:7: credentials.issuers[0].jwks: needs exactly one of url and file; both are given",
    ),
    "keys over http": (
        "https://id.example.com/keys",
        "http://id.example.com/keys",
        (
            "13:19: credentials.issuers[0].jwks.url: must be an https URL: over http anybody "
            "on the "
            "way could replace the keys"
        ),
    ),
    "keys from nowhere": (
        "https://id.example.com/keys",
        "id.example.com/keys",
        "13:19: credentials.issuers[0].jwks.url: must be an https URL",
    ),
    "keys from a bad port": (
        "https://id.example.com/keys",
        "https://id.example.com:x/keys",
        "13:19: credentials.issuers[0].jwks.url: must be an https URL",
    ),
    "keys with password": (
        "https://id.example.com/keys",
        "https://me:hunter2@id.example.com/keys",
        "13:19: credentials.issuers[0].jwks.url: must be an https URL without user and password",
    ),
    "no tenant": (
        "      tenant: acme\n",
        "",
        (
            "10:7: credentials.issuers[0].tenant: needs exactly one of tenant and tenant_claim; "
            "neither is given"
        ),
    ),
    "two tenants": (
        "tenant: acme",
        "tenant: acme\n      tenant_claim: org",
        (
            "12:15: credentials.issuers[0].tenant: needs exactly one of tenant and "
            "tenant_claim; both "
            "are given"
        ),
    ),
    "empty tenant": (
        "tenant: acme",
        "tenant: ''",
        "12:15: credentials.issuers[0].tenant: must not be empty",
    ),
    "empty claim": (
        "tenant: acme",
        "tenant_claim: ''",
        "12:21: credentials.issuers[0].tenant_claim: must not be empty",
    ),
    "claim without tenants": (
        "tenant: acme",
        "tenant_claim: org",
        (
            "10:7: credentials.issuers[0].tenants: must name the tenants that tenant_claim "
            "may choose "
            "from"
        ),
    ),
    "tenants without claim": (
        "tenant: acme",
        "tenant: acme\n      tenants: [acme]",
        (
            "13:7: credentials.issuers[0].tenants: belongs to tenant_claim; with tenant it has no "
            "meaning"
        ),
    ),
    "roles": (
        "tenant: acme",
        "tenant: acme\n      roles_claim: roles",
        (
            "13:20: credentials.issuers[0].roles_claim: must be a JSON pointer, such as "
            "/realm_access/roles (RFC 6901)"
        ),
    ),
    "leeway": (
        "tenant: acme",
        "tenant: acme\n      leeway_seconds: 301",
        "13:23: credentials.issuers[0].leeway_seconds: must be a number from 0 to 300",
    ),
    "one tenant, one prefix": (
        ISSUER,
        ISSUER + SECOND,
        (
            "14:7: credentials.issuers[1].subject_prefix: must differ from that of "
            "credentials.issuers[0]: both speak for one tenant, and one's subject could be "
            "taken for "
            "the other's"
        ),
    ),
    "one name": (
        ISSUER,
        ISSUER + SECOND.replace("other.example", "id.example"),
        "14:15: credentials.issuers[1].issuer: the same issuer as credentials.issuers[0]",
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), ISSUERS.values(), ids=ISSUERS)
def test_a_wrong_issuer_is_told_with_its_place(old: str, new: str, expected: str) -> None:
    assert old in ISSUER
    text = GOOD.replace("routes:", ISSUER.replace(old, new, 1) + "routes:")
    assert problems(text) == [expected]


@pytest.mark.parametrize(
    ("first", "second"), [("", "o:"), ("o:", ""), ("a:", "a:b:"), ("a:b:", "a:")]
)
def test_no_prefix_of_a_tenant_begins_with_another(first: str, second: str) -> None:
    several = "".join(
        text.replace("tenant: acme", f"tenant: acme\n      subject_prefix: '{prefix}'")
        for text, prefix in ((ISSUER, first), (SECOND, second))
    )
    (found,) = problems(GOOD.replace("routes:", several + "routes:"))
    assert "credentials.issuers[1].subject_prefix: must not begin with, nor be the" in found


def test_issuers_of_one_tenant_may_differ_in_prefix_and_tenants() -> None:
    several = (
        ISSUER.replace("tenant: acme", "tenant: acme\n      subject_prefix: 'i:'")
        + SECOND.replace("tenant: acme", "tenant: acme\n      subject_prefix: 'o:'")
        + SECOND.replace("other", "third").replace(
            "tenant: acme", "tenant_claim: org\n      tenants: [globex]"
        )
    )
    root = parse(GOOD.replace("routes:", several + "routes:"), environ=ENVIRON)
    assert [issuer.subject_prefix for issuer in root.credentials.issuers] == ["i:", "o:", ""]


def test_keys_may_come_over_http_from_loopback() -> None:
    text = ISSUER.replace("https://id.example.com/keys", "http://[::1]:9/keys")
    root = parse(GOOD.replace("routes:", text + "routes:"), environ=ENVIRON)
    assert root.credentials.issuers[0].jwks.url == "http://[::1]:9/keys"


@pytest.mark.parametrize("url", ["/sign-in?next={target}", "https://login.example.com/?n={target}"])
def test_browsers_may_be_sent_to_a_path_or_elsewhere(url: str) -> None:
    text = GOOD.replace("routes:", f"  sign_in_url: {url}\nroutes:")
    assert parse(text, environ=ENVIRON).credentials.sign_in_url == url


@pytest.mark.parametrize(
    "url", ["redis://h", "rediss://u:p@h:1/0", "unix:///run/r", "redis://[::1]/"]
)
def test_redis_may_be_reached_in_several_ways(url: str) -> None:
    text = GOOD.replace("stores:", f"stores:\n  redis: {{url: '{url}'}}")
    redis = parse(text, environ=ENVIRON).stores.redis
    assert redis is not None
    assert redis.url == url


def test_a_choice_for_a_name_that_is_broken_is_not_judged() -> None:
    message = "must be text: YAML reads this as a number; put it in quotes"
    assert problems(GOOD + "    upstream: 5\n") == [
        f"{LINES + 1}:15: routes[0].upstream: {message}"
    ]


def test_sections_that_are_broken_do_not_stop_the_checks_of_others() -> None:
    text = (
        "credentials: 5\nstores: []\nupstreams: no\n"
        "routes:\n  - {path: /, upstream: a}\naudit: {sink: x}"
    )
    assert [line.split(": ")[1] for line in problems(text)] == [
        "credentials",
        "stores",
        "upstreams",
        "audit.sink",
    ]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = "help_text: 5\nlisten: {backlog: 0}\n" + GOOD.replace("public", "nobody")
    assert problems(text) == [
        "1:12: help_text: must be text: YAML reads this as a number; put it in quotes",
        "2:19: listen.backlog: must be a whole number of at least 1",
        "13:13: routes[0].access: must be one of authenticated, public",
    ]


def test_one_mistake_is_one_message() -> None:
    """A broken address is not also complained about by the checks that would have parsed it."""
    assert problems(GOOD.replace("http://127.0.0.1:9000", "5")) == [
        "3:10: upstreams.app.url: must be text: YAML reads this as a number; put it in quotes"
    ]


@pytest.mark.parametrize("text", ["", "# nothing\n", "\n\n"])
def test_an_empty_file_is_refused(text: str) -> None:
    assert problems(text) == ["1:1: the file is empty"]


@pytest.mark.parametrize("text", ["a", "- a", "5", "null"])
def test_a_file_that_is_no_section_is_refused(text: str) -> None:
    assert problems(text) == [
        "1:1: must be a section with keys such as upstreams, stores, credentials"
    ]


def test_missing_sections_are_told_together() -> None:
    assert problems("version: 1") == [
        "1:1: upstreams: is required",
        "1:1: stores: is required",
        "1:1: credentials: is required",
        "1:1: routes: is required",
    ]


def test_references_stand_for_numbers_and_truths_too() -> None:
    text = GOOD + "cache: {users: '${FIVE}'}\nfeatures: {memory_cache: '${YES}'}\n"
    root = parse(text, environ=ENVIRON)
    assert root.cache.users == 5
    assert root.features.memory_cache is True


def test_a_referred_number_obeys_the_same_range() -> None:
    assert problems(GOOD + "listen: {limits: {head_bytes: '${FIVE}'}}\n") == [
        f"{LINES + 1}:31: listen.limits.head_bytes: must be a whole number from 1024 to 1048576"
    ]


def test_aliases_stand_for_what_they_name() -> None:
    text = GOOD.replace("public", "&who public").replace(
        "routes:", "routes:\n  - {path: /a, access: authenticated}"
    )
    root = parse(text + "help_text: *who\n", environ=ENVIRON)
    assert root.help_text == "public"


def test_optional_settings_accept_null_in_each_spelling() -> None:
    for nothing in ("null", "~", ""):
        root = parse(GOOD + f"identity:\n  user: {nothing}\n", environ=ENVIRON)
        assert root.identity.user is None


def test_a_file_is_read_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 40 + "\n")
    text = GOOD.replace("${KEY}", "${file:key}").replace(
        "routes:",
        ISSUER.replace("url: 'https://id.example.com/keys'", "file: keys.json") + "routes:",
    )
    path = tmp_path / "sidecar.yaml"
    path.write_text("\ufeff" + text)
    root = load(path, environ=ENVIRON)
    assert root.credentials.token_key == "k" * 40
    assert root.credentials.issuers[0].jwks.file == str(tmp_path / "keys.json")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_bytes(b"version: 1\nhelp_text: \xff\n")
    with pytest.raises(SettingsError) as caught:
        load(path, environ={})
    assert str(caught.value) == f"{path}:2:12: the file is not UTF-8 text"


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_bytes(b"# " + "é".encode() * 700_000)
    with pytest.raises(SettingsError) as caught:
        load(path, environ={})
    assert str(caught.value) == f"{path}:1:1: the file is larger than 1 MiB"


def test_a_file_that_cannot_be_read_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none", environ={})

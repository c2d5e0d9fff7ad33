"""oauth2-proxy as a reverse proxy that takes bearer tokens and knows a list of addresses.

It verifies each token anew; its log is off, as it cannot buffer one. Connections to the upstream
are as it ships them: two stay open, the others are made anew.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from perf.machine import free_port
from perf.peers import fetched, static
from perf.peers.peer import Guard, Peer, Site, running, wait_until_answers
from perf.workload import AUDIENCE, ISSUER, PATH, TOKENS, email, subject

NAME = "oauth2-proxy"


@contextmanager
def started(site: Site) -> Iterator[Peer]:
    """oauth2-proxy before the upstream; the keys come from a server of their own, once."""
    binary, version = fetched.program(NAME)
    folder, port = site.folder / NAME, free_port()
    folder.mkdir()
    known, log = folder / "known.txt", folder / "oauth2-proxy.out"
    known.write_text("".join(f"{email(subject(number))}\n" for number in range(TOKENS)))
    with static.keys(folder / "keys", site.workload.jwks) as jwks:
        options = {
            "provider": "oidc",
            "oidc-issuer-url": ISSUER,
            "skip-oidc-discovery": "true",
            "login-url": f"{ISSUER}/authorize",
            "redeem-url": f"{ISSUER}/token",
            "oidc-jwks-url": jwks,
            "client-id": AUDIENCE,
            "client-secret": "unused-in-a-benchmark",
            "cookie-secret": "0123456789abcdef0123456789abcdef",
            "skip-jwt-bearer-tokens": "true",
            "authenticated-emails-file": str(known),
            "api-route": "^/",
            "upstream": f"http://127.0.0.1:{site.upstream}/",
            "http-address": f"127.0.0.1:{port}",
            "request-logging": "false",
            "auth-logging": "false",
        }
        command = [str(binary), *(f"--{name}={value}" for name, value in options.items())]
        with running(command, log) as child:
            wait_until_answers(child, port, PATH, log)
            yield Peer(NAME, version.lstrip("v"), port, child.pid, Guard.AUTHORIZES)

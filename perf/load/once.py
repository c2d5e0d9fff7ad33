"""Tokens that nobody has seen, each shown once: what a proxy takes for them, and what it keeps.

Run by `perf.growth.tokens`. Tokens are signed with Ed25519 here, just before they are sent; the
proxy's CPU time and memory are read every so many. Prints one line of JSON for each.
"""

import argparse
import asyncio
import base64
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from perf.load.introduction import TRIES, status_of
from perf.machine import cpu_seconds, resident_bytes
from perf.workload import AUDIENCE, ISSUER, LIFETIME_SECONDS, TOKENS, request, subject

KEY_ID = "bench-ed25519"
# None of those that are shown again and again.
_FIRST = 1_000_000_000
CONNECTIONS = 16
_PATIENCE_SECONDS = 0.25


def encoded(octets: bytes) -> bytes:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


def tokens(key: Path, first: int = 0) -> Iterator[str]:
    """Different ones of the workload's users, without end.

    Args:
        key: private, PEM.
        first: their number.
    """
    signer = load_pem_private_key(key.read_bytes(), None)
    assert isinstance(signer, Ed25519PrivateKey)
    head = {"alg": "Ed25519", "typ": "at+jwt", "kid": KEY_ID}
    protected = encoded(json.dumps(head).encode())
    now = int(time.time())
    for number in itertools.count(first):
        claims = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": subject(number % TOKENS), "iat": now,
            "exp": now + LIFETIME_SECONDS, "jti": f"{number:>032x}",
        }  # fmt: skip
        signed = protected + b"." + encoded(json.dumps(claims).encode())
        yield (signed + b"." + encoded(signer.sign(signed))).decode()


class Progress:
    """What is told every so many."""

    def __init__(self, pid: int, every: int) -> None:
        self.pid = pid
        self.every = every
        self.answered = 0
        self.again = 0
        self._spent = cpu_seconds(pid)

    def answer(self) -> None:
        """One more was let through."""
        self.answered += 1
        if self.answered % self.every == 0:
            before, self._spent = self._spent, cpu_seconds(self.pid)
            told = {
                "tokens": self.answered,
                "cpu_us": (self._spent - before) / self.every * 1e6,
                "resident_bytes": resident_bytes(self.pid),
                "again": self.again,
            }
            print(json.dumps(told), flush=True)


async def show(port: int, waiting: Iterator[str], progress: Progress) -> None:
    """One connection.

    Raises:
        RuntimeError: there was another answer than 200, or too many were 503.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for token in waiting:
        status = 503
        for _ in range(TRIES):
            writer.write(request(token))
            status = await status_of(reader)
            if status != 503:
                break
            progress.again += 1
            await asyncio.sleep(_PATIENCE_SECONDS)
        if status != 200:
            raise RuntimeError(f"a sound token was answered with {status}")
        progress.answer()
    writer.transport.abort()


async def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("port", "pid", "tokens", "every"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--key", type=Path, required=True, help="private, PEM")
    given = parser.parse_args()
    waiting = itertools.islice(tokens(given.key, _FIRST), given.tokens)
    progress = Progress(given.pid, given.every)
    await asyncio.gather(*(show(given.port, waiting, progress) for _ in range(CONNECTIONS)))


if __name__ == "__main__":
    try:
        uvloop.run(main())
    except (RuntimeError, OSError) as error:
        sys.exit(f"load generator: {error}")

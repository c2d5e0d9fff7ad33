"""Tokens: few and many that are used again and again, and a million that come once."""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from perf.growth.grown import Growth, Lines
from perf.growth.plane import Plane
from perf.growth.sized import Case, Run, measured
from perf.load.once import KEY_ID, encoded, tokens
from perf.peers.peer import Peer
from perf.workload import request

NUMBERS_OF_TOKENS = (10, 1_000, 30_000)
# At so many moments cost and memory are read.
STEPS = 10


def issuer(folder: Path, jwks: Path) -> tuple[Path, Path]:
    """A key that signs quickly, beside those of a set; the private key and the larger set."""
    key = Ed25519PrivateKey.generate()
    private, both = folder / "ed25519.pem", folder / "both.json"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    more = {"kty": "OKP", "crv": "Ed25519", "x": encoded(public).decode(), "kid": KEY_ID}
    more |= {"use": "sig", "alg": "Ed25519"}
    both.write_text(json.dumps({"keys": [*json.loads(jwks.read_text())["keys"], more]}))
    return private, both


def grown(plane: Plane, run: Run, private: Path, number: int) -> list[Growth]:
    """Both."""
    return known(plane, run, private) + (new(plane, run, private, number) if number else [])


def known(plane: Plane, run: Run, private: Path) -> list[Growth]:
    """Tokens that memory knows, used again and again."""
    cases = {}
    # What is in memory is verified anew when it is so old: once in a while, however often it is
    # asked for. On a machine that others keep busy that would be most of a short round.
    with plane.sidecar("tokens", cache={"entry_seconds": 300}) as peer:
        for size in NUMBERS_OF_TOKENS:
            path = plane.folder / f"tokens-{size}.json"
            made = itertools.islice(tokens(private), size)
            path.write_text(json.dumps([request(each).decode() for each in made]))
            cases["known", size] = Case(peer, path)
        lines = measured(cases, run)
    return [Growth("Known tokens", "different tokens", "CPU µs/request", lines)]


def new(plane: Plane, run: Run, private: Path, number: int) -> list[Growth]:
    """So many tokens, each shown once; what they cost and what the process keeps of them."""
    cost: Lines = {"each new": {}}
    resident: Lines = {"resident": {}}
    every = max(1, number // STEPS)
    with plane.sidecar("new-tokens") as peer:
        for told in _shown(peer, private, number, every):
            size = int(told["tokens"])
            cost["each new"][size] = [told["cpu_us"]]
            resident["resident"][size] = [told["resident_bytes"] / 1e6]
            run.tell(
                f"{size:8} new tokens {told['cpu_us']:7.1f} µs CPU/request"
                f" {told['resident_bytes'] / 1e6:6.1f} MB, {told['again']:.0f} told to come again"
            )
    return [
        Growth("New tokens", "shown so far", "CPU µs/request", cost),
        Growth("Memory", "new tokens shown", "MB resident", resident, is_relative=False),
    ]


def _shown(peer: Peer, private: Path, number: int, every: int) -> Iterator[Mapping[str, float]]:
    """What is told after so many each.

    Raises:
        RuntimeError: an answer was not the expected one.
    """
    command = [sys.executable, "-m", "perf.load.once", "--port", str(peer.port)]
    command += ["--pid", str(peer.pid), "--key", str(private)]
    command += ["--tokens", str(number), "--every", str(every)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        for line in child.stdout:
            yield json.loads(line)
        errors = child.stderr.read()
    if child.returncode:
        raise RuntimeError(errors.strip()[-2_000:])

"""Which shard a tenant belongs to; PostgreSQL computes the same (`auth_shard_of`)."""

from hashlib import sha256
from typing import Final

# A setting in the design; a constant until the incarnation may change with it (SYNC.md, R11).
SHARDS: Final = 16


def shard_of(tenant: str) -> int:
    """The shard of `tenant`, 0 to 15: the first byte of the SHA-256 of its slug, modulo 16."""
    return sha256(tenant.encode("utf-8", "surrogatepass")).digest()[0] % SHARDS

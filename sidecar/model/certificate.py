"""A client's certificate, as far as decisions may depend on it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class ClientCertificate:
    """What a client's certificate says; TLS has verified who vouches for it, and its key.

    Attributes:
        fingerprint: SHA-256 of the certificate (32 bytes).
        trust_domain: of its SPIFFE id; ``""`` without one.
        path: of its SPIFFE id, without the first slash; ``""`` without one.
        name: its subject (RFC 4514).
        not_before: wall-clock instant from which it is valid.
        not_after: wall-clock instant until which it is.
        flaw: why it cannot stand for anybody; ``""`` where it can.
    """

    fingerprint: bytes
    trust_domain: str = ""
    path: str = ""
    name: str = ""
    not_before: float = 0.0
    not_after: float = 0.0
    flaw: str = ""

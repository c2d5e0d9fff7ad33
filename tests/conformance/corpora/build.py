"""How the tables write requests: what is not odd about a case stands here, once."""

from tests.conformance.harness import Case

HOST = b"Host: app.example"
CHUNKED = b"Transfer-Encoding: chunked"


def request(*lines: bytes, start: bytes = b"GET / HTTP/1.1", body: bytes = b"") -> bytes:
    """A request with Host and a number, `lines` after them."""
    return b"\r\n".join((start, HOST, b"X-Nonce: case", *lines, b"", body))


def post(*lines: bytes, body: bytes = b"") -> bytes:
    """A POST."""
    return request(*lines, start=b"POST / HTTP/1.1", body=body)


def start(line: bytes) -> bytes:
    """A request that is plain but for its start line."""
    return request(start=line)


# Where two readings differ by what follows, this is what one of them would take for a request.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\nX-Nonce: smuggled\r\n\r\n"


def refused(rows: dict[str, tuple[bytes, str]], status: int = 400, group: str = "") -> list[Case]:
    """Cases that all get `status` and nothing else: name -> (octets, why)."""
    return [Case(f"{group}{name}", octets, (status,), why) for name, (octets, why) in rows.items()]


def served(rows: dict[str, tuple[bytes, str]], group: str = "") -> list[Case]:
    """Cases that are served: name -> (octets, why)."""
    return [Case(f"{group}{name}", octets, (200,), why) for name, (octets, why) in rows.items()]

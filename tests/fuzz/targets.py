"""Properties of the pure parsers, for any octets at all. Each target raises where one fails."""

import contextlib
from collections.abc import Callable
from typing import Final

from sidecar.authenticate.credential import CredentialRules
from sidecar.authorize.authorizer import Authorizer
from sidecar.authorize.permit import Permit
from sidecar.authorize.principal import IdentityFields
from sidecar.cache.memory import Memory
from sidecar.decide import Snapshot, decide
from sidecar.forward.request_fields import RequestFields
from sidecar.forward.response_fields import ResponseFields
from sidecar.model.decision import Denial
from sidecar.model.peer import Peer
from sidecar.parse.body import BodyMalformedError, BodyTooLargeError, ChunkedBody
from sidecar.parse.fields import kept_seconds
from sidecar.parse.framing import UNTIL_CLOSE, UpstreamMalformedError, response_length
from sidecar.parse.host import read_authority
from sidecar.parse.proxy_protocol import ProxyMalformedError, measure, parse
from sidecar.parse.request import RequestReader, unread_head
from sidecar.parse.response import ResponseReader
from sidecar.parse.target import Target, read_target
from sidecar.route.rules import compile_routes
from sidecar.settings.schema import Cache, Credentials, Forwarded, Identity, RouteRule
from tests.conformance.strict import h11_agrees, take_request, take_response

_REQUESTS: Final = RequestReader(target_bytes=8192, most_fields=100)
_RESPONSES: Final = ResponseReader()
_REQUEST_FIELDS: Final = RequestFields(Identity(), Forwarded(), "sidecar_session")
_RESPONSE_FIELDS: Final = ResponseFields("X-Request-Id", "sidecar_session")
_PEER: Final = Peer("192.0.2.1", "http", is_trusted=False)
_PUBLIC: Final = (
    RouteRule(path="/", access="public"),
    RouteRule(path="/{rest*}", access="public"),
)
_SNAPSHOT: Final = Snapshot(
    routes=compile_routes(_PUBLIC, default_upstream="app"),
    credentials=CredentialRules(Credentials(token_key="k" * 32)),
    memory=Memory(Cache(), jitter=lambda: 0.5),
    authorizer=Authorizer(Cache(), IdentityFields(Identity())),
    leeways={},
)


def request(octets: bytes) -> None:
    """A head that is read is permitted as it is sent, and what is sent has one reading."""
    head = _REQUESTS.read(octets + b"\r\n\r\n")
    if isinstance(head, Denial):
        return
    assert isinstance(again := read_target(head.target), Target)
    assert (again.target, again.path) == (head.target, head.path)
    if head.upgrade:
        return
    permit = decide(head, 0.0, 0.0, _SNAPSHOT)
    assert isinstance(permit, Permit)
    written = _REQUEST_FIELDS.compose(
        head, permit, _PEER, identity=b"X-Auth-User: alice\r\n", request_id=b"id",
        trace=b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-00", host=None,
    )  # fmt: skip
    if not head.authority:
        return  # HTTP/1.0 without Host: an empty one, which a strict reader refuses
    body = b"0\r\n\r\n" if head.body_length is None else b"x" * min(head.body_length, 100_000)
    taken = take_request(written + body)
    if taken is None:
        assert head.body_length is not None
        assert head.body_length > len(body)
        return
    message, rest = taken
    assert rest == b""
    assert message.start == (head.method.encode(), head.target)
    assert message.values(b"x-auth-user") == [b"alice"]
    assert message.values(b"x-request-id") == [b"id"]
    assert message.values(b"host") == [head.authority]
    assert not message.values(b"x_auth_user")
    assert h11_agrees(message)


def _chunked(octets: bytes, size: int, most_chunks: int) -> tuple[bytes, bytes, str]:
    """Payload, rest and outcome of a chunked body fed `size` octets at a time."""
    body = ChunkedBody(64, 256, most_chunks)
    payload = b""
    for at in range(0, len(octets), size):
        try:
            payload += body.feed(octets[at : at + size])
            while body.is_behind:
                payload += body.feed(b"")
        except (BodyMalformedError, BodyTooLargeError):
            # Which of the two may depend on the cut: a bare LF is seen before the bound is passed.
            return b"", b"", "refused"
        if body.ended:
            return payload, body.rest + octets[at + size :], "ended"
    return payload, b"", "open"


def chunks(octets: bytes) -> None:
    """However a body is cut, it is the same body, or the same refusal."""
    expected = _chunked(octets, max(1, len(octets)), 0)
    for size, most in ((1, 0), (3, 0), (7, 2), (max(1, len(octets)), 1)):
        found = _chunked(octets, size, most)
        assert found == expected, (size, most, found, expected)


def response(octets: bytes) -> None:
    """A head that is read is passed on in a form that has one reading."""
    head = unread_head()
    head.method, head.keep_alive = "GET", True
    try:
        answer = _RESPONSES.read(octets + b"\r\n\r\n")
        length = response_length("GET", answer.status, answer.minor, answer)
    except UpstreamMalformedError:
        return
    if answer.status < 200:
        written = _RESPONSE_FIELDS.interim(answer)
        assert take_response(written, b"GET") is not None
        return
    chunked = None if length == UNTIL_CLOSE else length
    written = _RESPONSE_FIELDS.compose(answer, head, chunked, b"id", keep_alive=True)
    body = b"0\r\n\r\n" if chunked is None else b"x" * min(chunked, 100_000)
    taken = take_response(written + body, b"GET")
    if taken is None:
        assert chunked is not None
        assert chunked > len(body)
        return
    message, _ = taken
    assert int(message.start[0]) == answer.status
    assert message.values(b"x-request-id") == [b"id"]
    for value in message.values(b"set-cookie"):
        assert not value.lstrip(b"= \t").startswith(b"sidecar_session=")


def target(octets: bytes) -> None:
    """The canonical form is canonical, plain, and cannot climb."""
    found = read_target(octets)
    if isinstance(found, Denial):
        return
    again = read_target(found.target)
    assert isinstance(again, Target)
    assert (again.target, again.path) == (found.target, found.path)
    assert found.target.startswith(b"/")
    assert found.target.partition(b"?")[0] == found.path.encode()
    assert not {"", ".", ".."} & set(found.path.split("/")[1:-1])
    assert found.path.split("/")[-1] not in {".", ".."}
    assert not set(found.path) & set("\\;#\r\n\x00 ")


def host(octets: bytes) -> None:
    """An authority that is read is plain, and reads as itself."""
    found = read_authority(octets)
    if found is not None:
        name, authority = found
        assert read_authority(authority) == found
        assert authority == authority.lower()
        assert not set(authority) & set(b"@/\\?#, \t\r\n\x00")
        assert authority.startswith(name.encode())
    assert kept_seconds(octets) >= 0


def proxy_header(octets: bytes) -> None:
    """A header in front of a connection is read, waited for or refused, and nothing else."""
    if not octets:
        return  # there is something to measure from one byte on
    with contextlib.suppress(ProxyMalformedError):
        needed, is_whole = measure(octets)
        assert needed > 0
        if is_whole and needed <= len(octets):
            parse(octets[:needed])


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    each.__name__: each for each in (request, chunks, response, target, host, proxy_header)
}

"""WebSocket handshakes: which pages may open one, and the policy of a route.

A browser opens WebSockets for pages of any site and sends its cookies along; CORS says nothing
about them (RFC 6455 section 10.2). So where a cookie or a certificate says who is asking, the page
has to be one of the host itself or of the route's list; a handshake that names no page is refused,
because a browser's always does.
"""

from typing import Final

from sidecar.model.decision import Denial
from sidecar.model.head import RequestHead
from sidecar.model.reason import Reason
from sidecar.model.route import Route
from sidecar.model.websocket import Reauthentication, WebSocketPolicy
from sidecar.settings.schema import WebSocketRule

ANY_ORIGIN: Final = "*"
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


def websocket_policy(rule: WebSocketRule) -> WebSocketPolicy:
    """The compiled policy of `rule`."""
    fresh = rule.reauthenticate
    return WebSocketPolicy(
        origins=frozenset(rule.origins),
        frame_bytes=rule.frame_bytes,
        message_bytes=rule.message_bytes,
        read_bytes=rule.read_bytes,
        messages_per_second=rule.messages_per_second,
        idle_seconds=rule.idle_seconds,
        ping_seconds=rule.ping_seconds,
        hold_seconds=rule.hold_seconds,
        reauthentication=None
        if fresh is None
        else Reauthentication(
            kind=fresh.type,
            kind_at=pointer_members(fresh.type_pointer),
            token_at=pointer_members(fresh.token_pointer),
            announce_seconds=fresh.announce_seconds,
        ),
        reads_messages=rule.messages is not None,
    )


def pointer_members(pointer: str) -> tuple[str, ...]:
    """The members of a JSON pointer (RFC 6901 section 4), unescaped."""
    return tuple(member.replace("~1", "/").replace("~0", "~") for member in pointer.split("/")[1:])


def refuse_handshake(
    head: RequestHead, route: Route, scheme: str, *, ambient: bool
) -> Denial | None:
    """Why this handshake may not be decided any further; None where it may.

    Args:
        head: the handshake.
        route: its route.
        scheme: ``http`` or ``https``, as the client used it.
        ambient: whether the browser adds the credential by itself.
    """
    policy = route.websocket
    if policy is None:
        detail = "the route has no `websocket` section"
        return Denial(Reason.UNSUPPORTED_UPGRADE, detail, route=route)
    origins = head.values(b"origin")
    if not origins:
        if ambient:
            return _refused("a handshake with a cookie or certificate has to name its page", route)
        return None
    if len(origins) > 1:
        return _refused("several Origin fields", route)
    origin = origins[0].decode("latin-1")
    if origin in policy.origins or _is_same(origin, head, scheme):
        return None
    if not ambient and (not policy.origins or ANY_ORIGIN in policy.origins):
        return None
    return _refused("the route does not name the page's origin", route)


def _refused(detail: str, route: Route) -> Denial:
    return Denial(Reason.ORIGIN_NOT_ALLOWED, detail, route=route)


def _is_same(origin: str, head: RequestHead, scheme: str) -> bool:
    """Whether the page is one of the host that is asked; never a page without TLS of one with."""
    page_scheme, _, page = origin.partition("://")
    if page_scheme not in {"https", scheme}:
        return False
    port = _DEFAULT_PORTS.get(page_scheme)
    if port is None or not page:
        return False
    return page.removesuffix(port) == head.authority.decode("latin-1").removesuffix(port)

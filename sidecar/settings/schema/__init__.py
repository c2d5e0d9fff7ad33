"""Every setting with its default and the reason for it. The file is YAML; the unit is in the name.

Structs are frozen and refuse unknown keys. `sidecar.settings.load` fills them and says where in
the file something is wrong; cross-checks (duplicate names, unknown upstreams, unreachable routes)
live in `sidecar.settings.check`. Each module has the sections of the file that it is named after.
"""

from sidecar.settings.schema.admin import Admin
from sidecar.settings.schema.audit import Audit
from sidecar.settings.schema.base import Settings
from sidecar.settings.schema.cache import Cache, Features
from sidecar.settings.schema.credentials import (
    CertificateNames,
    Credentials,
    Issuer,
    Jwks,
    SessionCredential,
    Spiffe,
    WebSocketCredential,
)
from sidecar.settings.schema.fields import Forwarded, Identity
from sidecar.settings.schema.limits import Overload, Rate
from sidecar.settings.schema.listen import Deadlines, Limits, Listen, Tls
from sidecar.settings.schema.messages import MessageRule, Messages
from sidecar.settings.schema.root import Root
from sidecar.settings.schema.routes import CorsRule, RouteRule
from sidecar.settings.schema.stores import Postgres, Redis, Stores
from sidecar.settings.schema.tracing import Tracing
from sidecar.settings.schema.upstream import Breaker, Upstream, UpstreamTls
from sidecar.settings.schema.websocket import Reauthentication, WebSocketRule

__all__ = [
    "Admin",
    "Audit",
    "Breaker",
    "Cache",
    "CertificateNames",
    "CorsRule",
    "Credentials",
    "Deadlines",
    "Features",
    "Forwarded",
    "Identity",
    "Issuer",
    "Jwks",
    "Limits",
    "Listen",
    "MessageRule",
    "Messages",
    "Overload",
    "Postgres",
    "Rate",
    "Reauthentication",
    "Redis",
    "Root",
    "RouteRule",
    "SessionCredential",
    "Settings",
    "Spiffe",
    "Stores",
    "Tls",
    "Tracing",
    "Upstream",
    "UpstreamTls",
    "WebSocketCredential",
    "WebSocketRule",
]

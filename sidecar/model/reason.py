"""Why a request was refused or permitted: one closed set, and one table from refusal to status.

The codes are stable: responses, logs, metric labels and audit records use them unchanged.
"""

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """A reason code. Refusals stand in `STATUS`; the rest are permits."""

    # Permits.
    PUBLIC = "public"
    AUTHENTICATED = "authenticated"
    GRANTED = "granted"
    # On facts of a while ago, because no store answers and the route accepts that (R9).
    LAST_KNOWN_GOOD = "last-known-good"
    # A browser asks whether a page of another site may send a request.
    PREFLIGHT = "preflight"

    # The message itself.
    MALFORMED_REQUEST = "malformed-request"
    MALFORMED_TARGET = "malformed-target"
    MALFORMED_HOST = "malformed-host"
    MALFORMED_FIELD = "malformed-field"
    AMBIGUOUS_FRAMING = "ambiguous-framing"
    UNSUPPORTED_FRAMING = "unsupported-framing"
    UNSUPPORTED_VERSION = "unsupported-version"
    UNSUPPORTED_METHOD = "unsupported-method"
    UNSUPPORTED_EXPECTATION = "unsupported-expectation"
    UNSUPPORTED_UPGRADE = "unsupported-upgrade"
    HEAD_TOO_LARGE = "head-too-large"
    TARGET_TOO_LONG = "target-too-long"
    BODY_TOO_LARGE = "body-too-large"
    REQUEST_TIMEOUT = "request-timeout"

    # Where to.
    UNKNOWN_ROUTE = "unknown-route"
    METHOD_NOT_ALLOWED = "method-not-allowed"

    # Who.
    NO_CREDENTIAL = "no-credential"
    SEVERAL_CREDENTIALS = "several-credentials"
    MALFORMED_CREDENTIAL = "malformed-credential"
    UNKNOWN_SESSION = "unknown-session"
    SESSION_REVOKED = "session-revoked"
    SESSION_EXPIRED = "session-expired"
    UNKNOWN_ISSUER = "unknown-issuer"
    UNKNOWN_KEY = "unknown-key"
    ALGORITHM_NOT_ALLOWED = "algorithm-not-allowed"
    BAD_SIGNATURE = "bad-signature"
    INVALID_CLAIMS = "invalid-claims"
    TOKEN_EXPIRED = "token-expired"  # noqa: S105 - a reason code
    TOKEN_NOT_YET_VALID = "token-not-yet-valid"  # noqa: S105 - a reason code
    CERTIFICATE_EXPIRED = "certificate-expired"
    WRONG_AUDIENCE = "wrong-audience"
    WRONG_TENANT = "wrong-tenant"
    UNKNOWN_USER = "unknown-user"
    USER_DISABLED = "user-disabled"

    # Whether.
    NOT_GRANTED = "not-granted"
    DENIED_BY_RULE = "denied-by-rule"
    MISSING_SCOPE = "missing-scope"
    ORIGIN_NOT_ALLOWED = "origin-not-allowed"

    # How much.
    ADDRESS_RATE_EXCEEDED = "address-rate-exceeded"
    PRINCIPAL_RATE_EXCEEDED = "principal-rate-exceeded"
    ROUTE_RATE_EXCEEDED = "route-rate-exceeded"

    # Faults: ours, the stores', the upstream's.
    STORES_UNAVAILABLE = "stores-unavailable"
    KEYS_UNAVAILABLE = "keys-unavailable"
    OVERLOADED = "overloaded"
    DRAINING = "draining"
    INTERNAL_ERROR = "internal-error"
    UPSTREAM_UNREACHABLE = "upstream-unreachable"
    UPSTREAM_CLOSED = "upstream-closed"
    UPSTREAM_MALFORMED = "upstream-malformed"
    UPSTREAM_TIMEOUT = "upstream-timeout"
    # Its circuit breaker is open: it was not asked.
    UPSTREAM_UNAVAILABLE = "upstream-unavailable"


# Reason -> status of the answer (RFC 9110 section 15; RFC 6585 sections 4 and 5 for 429 and 431).
STATUS: Final[dict[Reason, int]] = {
    Reason.MALFORMED_REQUEST: 400,
    Reason.MALFORMED_TARGET: 400,
    Reason.MALFORMED_HOST: 400,
    Reason.MALFORMED_FIELD: 400,
    Reason.AMBIGUOUS_FRAMING: 400,
    Reason.UNSUPPORTED_FRAMING: 501,
    Reason.UNSUPPORTED_VERSION: 505,
    Reason.UNSUPPORTED_METHOD: 501,
    Reason.UNSUPPORTED_EXPECTATION: 417,
    Reason.UNSUPPORTED_UPGRADE: 501,
    Reason.HEAD_TOO_LARGE: 431,
    Reason.TARGET_TOO_LONG: 414,
    Reason.BODY_TOO_LARGE: 413,
    Reason.REQUEST_TIMEOUT: 408,
    Reason.UNKNOWN_ROUTE: 404,
    Reason.METHOD_NOT_ALLOWED: 405,
    Reason.NO_CREDENTIAL: 401,
    Reason.SEVERAL_CREDENTIALS: 400,
    Reason.MALFORMED_CREDENTIAL: 401,
    Reason.UNKNOWN_SESSION: 401,
    Reason.SESSION_REVOKED: 401,
    Reason.SESSION_EXPIRED: 401,
    Reason.UNKNOWN_ISSUER: 401,
    Reason.UNKNOWN_KEY: 401,
    Reason.ALGORITHM_NOT_ALLOWED: 401,
    Reason.BAD_SIGNATURE: 401,
    Reason.INVALID_CLAIMS: 401,
    Reason.TOKEN_EXPIRED: 401,
    Reason.TOKEN_NOT_YET_VALID: 401,
    Reason.CERTIFICATE_EXPIRED: 401,
    Reason.WRONG_AUDIENCE: 401,
    Reason.WRONG_TENANT: 401,
    Reason.UNKNOWN_USER: 401,
    Reason.USER_DISABLED: 401,
    Reason.NOT_GRANTED: 403,
    Reason.DENIED_BY_RULE: 403,
    Reason.MISSING_SCOPE: 403,
    Reason.ORIGIN_NOT_ALLOWED: 403,
    Reason.ADDRESS_RATE_EXCEEDED: 429,
    Reason.PRINCIPAL_RATE_EXCEEDED: 429,
    Reason.ROUTE_RATE_EXCEEDED: 429,
    Reason.STORES_UNAVAILABLE: 503,
    Reason.KEYS_UNAVAILABLE: 503,
    Reason.OVERLOADED: 503,
    Reason.DRAINING: 503,
    Reason.INTERNAL_ERROR: 500,
    Reason.UPSTREAM_UNREACHABLE: 502,
    Reason.UPSTREAM_CLOSED: 502,
    Reason.UPSTREAM_MALFORMED: 502,
    Reason.UPSTREAM_TIMEOUT: 504,
    Reason.UPSTREAM_UNAVAILABLE: 503,
}

PERMITS: Final[frozenset[Reason]] = frozenset(Reason) - frozenset(STATUS)

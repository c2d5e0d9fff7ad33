"""Finds the one credential of a request: a bearer token, our session cookie, or a certificate.

Two of them, or the same one twice, are refused (PROMISES 4): whichever we took, somebody behind us
might take the other. Every Authorization field counts, also of schemes that are not ours.
What is found is a need: the fact that the decision depends on, named by a digest.
"""

from hashlib import blake2b
from typing import Final

from sidecar.authenticate.certificate import CertificateRules
from sidecar.authenticate.handshake import bearers, query_values
from sidecar.authenticate.opaque import PREFIX, check, digest, digest_key, signing_key
from sidecar.model.certificate import ClientCertificate
from sidecar.model.decision import Denial
from sidecar.model.facts import VerifiedCertificate
from sidecar.model.head import RequestHead, Upgrade
from sidecar.model.need import SessionNeed, TokenNeed
from sidecar.model.reason import Reason
from sidecar.model.route import Evidence
from sidecar.settings.schema import Credentials

# A signed token of more claims than that belongs behind an opaque session.
LONGEST_TOKEN: Final = 8_192
_TOKEN_KEY_BYTES: Final = 16
_BLANK: Final = b" \t"
_PREFIX: Final = PREFIX.encode("ascii")


class CredentialRules:
    """Which credentials are accepted, from the settings.

    Attributes:
        parameters: names of parameters of a handshake's query that hold credentials.
    """

    __slots__ = (
        "_bearer_sessions",
        "_certificates",
        "_cookie",
        "_digest",
        "_query",
        "_signing_key",
        "_subprotocol",
        "_ticket",
        "_tokens",
        "parameters",
    )

    def __init__(self, settings: Credentials) -> None:
        session = settings.session
        self._cookie = None if session is None else session.cookie.encode("ascii")
        self._bearer_sessions = session is not None and session.bearer
        self._tokens = bool(settings.issuers)
        shown = settings.websocket
        self._subprotocol = shown.subprotocol
        self._query = (shown.query_parameter or "").encode("ascii")
        self._ticket = shown.ticket_parameter.encode("ascii")
        self.parameters = frozenset(filter(None, (self._query, self._ticket)))
        self._certificates = CertificateRules(settings)
        self._signing_key = signing_key(settings.token_key)
        # Begun once: copying the keyed state is cheaper than keying it for each request.
        self._digest = blake2b(key=digest_key(settings.token_key), digest_size=_TOKEN_KEY_BYTES)

    def find(self, head: RequestHead) -> SessionNeed | TokenNeed | Denial:
        """The need that stands for the one credential of `head`.

        Returns:
            The need; or a Denial: none (`NO_CREDENTIAL`), several, one that is malformed or not of
            a kind we accept, or a session token we never signed (`UNKNOWN_SESSION`).
        """
        if head.upgrade is not None:
            return self._find_in_handshake(head, head.upgrade)
        return self._find_in_fields(head)

    def _find_in_fields(self, head: RequestHead) -> SessionNeed | TokenNeed | Denial:
        authorization = head.value(b"authorization")
        names = head.names
        place = names.places.get(b"cookie")
        if (
            place is not None
            and self._cookie is not None
            and (b"cookie" in names.repeated or self._cookie in head.contents[place])
        ):
            cookies = _cookies_named(self._cookie, head)
            if cookies:
                if len(cookies) > 1 or authorization is not None:
                    return Denial(Reason.SEVERAL_CREDENTIALS, "more than one credential")
                return self._session(cookies[0])
        if authorization is None:
            return Denial(Reason.NO_CREDENTIAL, "neither an Authorization field nor our cookie")
        if b"authorization" in names.repeated:
            return Denial(Reason.SEVERAL_CREDENTIALS, "more than one Authorization field")
        return self._bearer(authorization)

    def find_by(
        self,
        evidence: Evidence,
        head: RequestHead,
        certificate: ClientCertificate | None,
        wall: float,
    ) -> SessionNeed | TokenNeed | VerifiedCertificate | Denial:
        """The one credential that counts on a route that takes certificates.

        A certificate belongs to the connection, so in a mesh every request has one; a token is
        presented with this request. Hence a route for certificates refuses a token beside it, and
        where either will do the token decides, also when it is no good: nobody is taken for the
        workload that carries their request.

        Args:
            evidence: what the route asks for.
            head: the request.
            certificate: of its connection; None without one.
            wall: wall-clock instant.

        Returns:
            The need of a token or session, or for whom the certificate stands; or a Denial.
        """
        found = self.find(head)
        presented = not (isinstance(found, Denial) and found.reason is Reason.NO_CREDENTIAL)
        if evidence is not Evidence.CERTIFICATE:
            if presented:
                return found
        elif presented and certificate is not None:
            detail = "a certificate is asked for, and a token or session came as well"
            return Denial(Reason.SEVERAL_CREDENTIALS, detail)
        return self._certificates.verify(certificate, wall)

    def ticket_of(self, head: RequestHead) -> bytes | None:
        """The ticket that a handshake shows; None where it shows none.

        Several are a credential too many, and are found to be so later: they redeem nothing.
        """
        if head.upgrade is None:
            return None
        tickets = query_values(head.target, self._ticket)
        return tickets[0] if len(tickets) == 1 else None

    def is_ambient(
        self, head: RequestHead, evidence: Evidence, certificate: ClientCertificate | None
    ) -> bool:
        """Whether a handshake's credential is one that browsers add by themselves.

        A page that shows a token or a ticket had to know it; a cookie or a certificate goes along
        with what pages of any site open.
        """
        upgrade = head.upgrade
        if upgrade is not None and upgrade.ticket:
            return False
        if self._cookie is not None and b"cookie" in head.names.places:
            return bool(_cookies_named(self._cookie, head))
        if evidence is Evidence.TOKEN or certificate is None:
            return False
        found = self.find(head)
        return isinstance(found, Denial) and found.reason is Reason.NO_CREDENTIAL

    def shown_later(self, token: str) -> SessionNeed | TokenNeed | Denial:
        """The need of a session token or JWT that was shown on an open connection."""
        try:
            octets = token.encode("ascii")
        except UnicodeEncodeError:
            return _malformed("not a token")
        return self._credential(octets)

    def _find_in_handshake(
        self, head: RequestHead, upgrade: Upgrade
    ) -> SessionNeed | TokenNeed | Denial:
        """The one credential of a handshake, wherever it stands."""
        if upgrade.presented is not None and not upgrade.ticket:
            return upgrade.presented
        shown = bearers(upgrade.subprotocols) if self._subprotocol else []
        if self._query:
            shown += query_values(head.target, self._query)
        found = self._find_in_fields(head)
        is_absent = isinstance(found, Denial) and found.reason is Reason.NO_CREDENTIAL
        tickets = query_values(head.target, self._ticket)
        if not tickets and not shown:
            return found
        # A browser adds the cookie to a ticket by itself: the same session is the same credential.
        if len(tickets) + len(shown) > 1 or not (is_absent or found == upgrade.presented):
            return Denial(Reason.SEVERAL_CREDENTIALS, "more than one credential")
        if shown:
            return self._credential(shown[0])
        if upgrade.presented is None:
            return Denial(Reason.UNKNOWN_SESSION, "a ticket that was used, or is none of ours")
        return upgrade.presented

    def token_need(self, compact: bytes) -> TokenNeed:
        """The need of a JWT: keyed, because parts of a JWT can be guessed."""
        state = self._digest.copy()
        state.update(compact)
        return TokenNeed(state.digest(), compact.decode("ascii"))

    def _bearer(self, value: bytes) -> SessionNeed | TokenNeed | Denial:
        # RFC 6750 section 2.1; the scheme is case-insensitive (RFC 9110 section 11.1).
        scheme, _, credential = value.partition(b" ")
        if scheme.lower() != b"bearer":
            return _malformed("the Authorization scheme is not Bearer; others are not ours")
        return self._credential(credential.strip(_BLANK))

    def _credential(self, credential: bytes) -> SessionNeed | TokenNeed | Denial:
        if credential.startswith(_PREFIX):
            if self._bearer_sessions:
                return self._session(credential)
            return _malformed("sessions are not accepted as bearer tokens")
        if not self._tokens:
            return _malformed("no issuer of tokens is configured")
        if len(credential) > LONGEST_TOKEN:
            return _malformed(f"a token of more than {LONGEST_TOKEN} bytes")
        if not credential.isascii() or credential.count(b".") != 2:
            return _malformed("not a compact JWS: three parts (RFC 7515 section 7.1)")
        return self.token_need(credential)

    def _session(self, value: bytes) -> SessionNeed | Denial:
        token = value.decode("latin-1")
        shard = check(token, self._signing_key)
        if shard is None:
            if not value.startswith(_PREFIX):
                return _malformed("not a session token")
            return Denial(Reason.UNKNOWN_SESSION, "a session token that was not signed by us")
        return SessionNeed(digest(token), shard)


def _cookies_named(name: bytes, head: RequestHead) -> list[bytes]:
    """The values of all cookies of that name, in all Cookie fields (RFC 6265 section 5.4).

    Blanks around the name are no part of it, for us as for the parsers behind us.
    """
    found = []
    for value in head.values(b"cookie"):
        if name in value:
            for pair in value.split(b";"):
                key, _, content = pair.partition(b"=")
                if key.strip(_BLANK) == name:
                    found.append(content.strip(_BLANK))
    return found


def _malformed(detail: str) -> Denial:
    return Denial(Reason.MALFORMED_CREDENTIAL, detail)

"""Clients' certificates as credentials: SPIFFE workloads, or subjects by their names.

TLS has verified the chain and that the client holds the key. What is left is whom the certificate
stands for, by rules as strict as those for tokens: one SPIFFE id or none, in the one spelling that
the standard allows, in a certificate that cannot sign others (X509-SVID sections 2 to 5).
"""

import re
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from sidecar.cache.s3fifo import S3Fifo
from sidecar.model.certificate import ClientCertificate
from sidecar.model.decision import Denial
from sidecar.model.facts import VerifiedCertificate
from sidecar.model.reason import Reason
from sidecar.settings.schema import CertificateNames, Credentials, Spiffe

# SPIFFE-ID sections 2.1 to 2.3: no empty, `.` or `..` segment, no slash at the end, 2048 bytes.
_SPIFFE_ID: Final = re.compile(
    r"spiffe://(?P<domain>[a-z0-9._-]{1,255})(?P<path>(/(?!\.{1,2}(/|\Z))[A-Za-z0-9._-]+)+)",
    re.ASCII,
)
_LONGEST_ID: Final = 2048
# Workloads of a mesh that call one sidecar; each is one small object.
_MOST_REMEMBERED: Final = 10_000


def read_certificate(der: bytes) -> ClientCertificate:
    """What the certificate `der` (DER, verified by TLS) says; at worst, with a `flaw`."""
    fingerprint = sha256(der).digest()
    try:
        certificate = x509.load_der_x509_certificate(der)
        return _read(certificate, fingerprint)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        return ClientCertificate(fingerprint, flaw=f"it cannot be read ({type(error).__name__})")


def _read(certificate: x509.Certificate, fingerprint: bytes) -> ClientCertificate:
    name = certificate.subject.rfc4514_string()
    not_before = certificate.not_valid_before_utc.timestamp()
    not_after = certificate.not_valid_after_utc.timestamp()
    flaw, domain, path = "", "", ""
    uris = _uris(certificate)
    if any(uri.lower().startswith("spiffe:") for uri in uris):
        # X509-SVID section 2: exactly one URI. With several, who is meant?
        found = _SPIFFE_ID.fullmatch(uris[0]) if len(uris[0]) <= _LONGEST_ID else None
        if len(uris) > 1:
            flaw = "a SPIFFE id is not its only URI"
        elif found is None:
            flaw = "its SPIFFE id is malformed or names no workload"
        elif _can_sign(certificate):
            flaw = "a workload's certificate must not be able to sign others"
        else:
            domain, path = found["domain"], found["path"][1:]
    elif not name or not name.isprintable():
        flaw = "its subject has no printable name"
    return ClientCertificate(fingerprint, domain, path, name, not_before, not_after, flaw)


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_oid(
            ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        ).value
    except x509.ExtensionNotFound:
        return []
    if not isinstance(names, x509.SubjectAlternativeName):  # unreachable: the type of this OID
        raise TypeError("an extension of another type")
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _can_sign(certificate: x509.Certificate) -> bool:
    """X509-SVID section 5.2: leaf certificates are no CA and sign neither others nor CRLs."""
    extensions = certificate.extensions
    try:
        if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return True
    except x509.ExtensionNotFound:
        pass
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return usage.key_cert_sign or usage.crl_sign


class CertificateRules:
    """Whose certificates are believed, and for whom they stand; from the settings."""

    __slots__ = ("_domains", "_names", "_remembered")

    def __init__(self, settings: Credentials) -> None:
        self._domains = {each.trust_domain: each for each in settings.spiffe}
        self._names = settings.certificate_names
        # The same object each time: what is compiled for it is found again (`Authorizer`).
        self._remembered: S3Fifo[bytes, VerifiedCertificate] = S3Fifo(_MOST_REMEMBERED)

    def verify(
        self, certificate: ClientCertificate | None, wall: float
    ) -> VerifiedCertificate | Denial:
        """For whom `certificate` stands at the wall-clock instant `wall`.

        Returns:
            Tenant and subject; or a Denial: there is none, it is flawed, expired, or nobody says
            whom those of its kind stand for.
        """
        if certificate is None:
            return Denial(Reason.NO_CREDENTIAL, "the client presented no certificate")
        # At each use: a connection outlives its certificate (PROMISES 9).
        if wall >= certificate.not_after:
            return Denial(Reason.CERTIFICATE_EXPIRED, "the certificate has expired")
        if wall < certificate.not_before:
            return Denial(Reason.CERTIFICATE_EXPIRED, "the certificate is not valid yet")
        known = self._remembered.get(certificate.fingerprint)
        if known is not None:
            return known
        verified = self._stand_for(certificate)
        if isinstance(verified, VerifiedCertificate):
            self._remembered.put(certificate.fingerprint, verified)
        return verified

    def _stand_for(self, certificate: ClientCertificate) -> VerifiedCertificate | Denial:
        if certificate.flaw:
            return Denial(Reason.MALFORMED_CREDENTIAL, f"the certificate: {certificate.flaw}")
        if certificate.trust_domain:
            rule: Spiffe | CertificateNames | None = self._domains.get(certificate.trust_domain)
            local, lacking = certificate.path, "the trust domain is not configured"
        else:
            rule, local = self._names, certificate.name
            lacking = "certificates without SPIFFE id are not accepted"
        if rule is None:
            return Denial(Reason.UNKNOWN_ISSUER, lacking)
        return VerifiedCertificate(
            fingerprint=certificate.fingerprint,
            tenant=rule.tenant,
            subject=rule.subject_prefix + local,
            expires_at=certificate.not_after,
            known_users_only=rule.known_users_only,
        )

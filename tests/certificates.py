"""Certificates, made when a test needs them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = timedelta(days=1)


@dataclass
class Leaf:
    """A certificate with its key, as PEM."""

    certificate: x509.Certificate
    pem: bytes
    key: bytes

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def write(self, folder: Path, name: str) -> tuple[str, str]:
        """The paths of both files."""
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        certificate.write_bytes(self.pem)
        key.write_bytes(self.key)
        return str(certificate), str(key)


class Authority:
    """Signs certificates."""

    def __init__(self, name: str = "Test CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = _usage(signs=True)
        builder = _builder(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        builder = builder.add_extension(usage, True)
        certificate = builder.sign(self._key, hashes.SHA256())
        self.pem = certificate.public_bytes(serialization.Encoding.PEM)

    def write(self, folder: Path, name: str = "ca") -> str:
        """The path of the file."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.crt"
        path.write_bytes(self.pem)
        return str(path)

    def server(self, *names: str) -> Leaf:
        """A server's, by default of 127.0.0.1 and localhost."""
        return self.issue("a server", names=names or ("127.0.0.1", "localhost"))

    def issue(
        self,
        common_name: str = "",
        *,
        names: Sequence[str] = (),
        uris: Sequence[str] = (),
        signs: bool = False,
        is_authority: bool = False,
        days: float = 1,
        begins: float = -1,
        usage: bool = True,
    ) -> Leaf:
        """Any certificate.

        Args:
            common_name: of its subject.
            names: host names and addresses.
            uris: URI names.
            signs: its key usage allows to sign certificates.
            is_authority: it says that it is a CA.
            days: from now to its end.
            begins: from now to its beginning, in days.
            usage: whether it states a key usage and its constraints at all.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
        builder = _builder(x509.Name(subject), self._name, key.public_key(), days, begins)
        others = [x509.UniformResourceIdentifier(uri) for uri in uris]
        alternatives = [*map(_name, names), *others]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), False)
        if usage:
            constraints = x509.BasicConstraints(ca=is_authority, path_length=None)
            builder = builder.add_extension(constraints, True)
            builder = builder.add_extension(_usage(signs=signs), True)
            purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Leaf(
            certificate,
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    days: float = 1,
    begins: float = -1,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    builder = builder.public_key(key).serial_number(x509.random_serial_number())
    return builder.not_valid_before(now + begins * _DAY).not_valid_after(now + days * _DAY)


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )

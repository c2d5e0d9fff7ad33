"""The other end of a client's connection."""

from sidecar.model.certificate import ClientCertificate


class Peer:
    """What is known of a client's connection; one for each connection, shared by its requests.

    Attributes:
        address: IP address without port, or ``unix``.
        scheme: ``http`` or ``https``, as the client used it towards us.
        certificate: of the client, where TLS asked for one and it has one.
        is_trusted: whether it is a proxy whose X-Forwarded-* we believe (PROMISES 10).
        forwarded: the X-Forwarded-For and -Proto fields as they go upstream for a peer that is
            not trusted, each ended by CRLF.
    """

    __slots__ = ("address", "certificate", "forwarded", "is_trusted", "scheme")

    def __init__(
        self,
        address: str,
        scheme: str,
        *,
        is_trusted: bool,
        certificate: ClientCertificate | None = None,
    ) -> None:
        self.address = address
        self.certificate = certificate
        self.scheme = scheme
        self.is_trusted = is_trusted
        self.forwarded = f"X-Forwarded-For: {address}\r\nX-Forwarded-Proto: {scheme}\r\n".encode()

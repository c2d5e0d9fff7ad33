"""Checks of TLS, PROXY headers and certificates as credentials."""

import ipaddress
import re
from typing import Final

from sidecar.settings.address import is_tls
from sidecar.settings.check_credentials import Owners
from sidecar.settings.check_fields import check_network
from sidecar.settings.checker import Checker
from sidecar.settings.problem import Path
from sidecar.settings.schema import Root, Tls, UpstreamTls

# SPIFFE-ID section 2.1.
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}", re.ASCII)
# SPIFFE Trust Domain and Bundle: authorities count for their own trust domain only. One file
# says nothing of which of its authorities belongs to which.
_VOUCHED: Final = (
    "client_ca vouches for one trust domain or for certificate_names, not for several: any "
    "authority in it could sign for each of them. Leave one; others need a sidecar of their own"
)
_SERVER_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*", re.ASCII)


def check_tls(root: Root, checker: Checker) -> None:
    """Both sides of TLS, PROXY headers, and what routes ask of certificates."""
    if root.listen.tls is not None:
        _check_listener(root.listen.tls, checker)
    _check_proxy_protocol(root, checker)
    for name, upstream in root.upstreams.items():
        path: Path = ("upstreams", name, "tls")
        if upstream.tls is not None and checker.is_sound(("upstreams", name, "url")):
            _check_upstream(upstream.tls, upstream.url, path, checker)
    _check_certificates(root, checker)


def _check_listener(tls: Tls, checker: Checker) -> None:
    path = ("listen", "tls")
    for key in ("certificate", "key", "client_ca"):
        if getattr(tls, key) == "":
            checker.wrong((*path, key), "must not be empty")
    asks = tls.client_certificate != "off"
    if asks and tls.client_ca is None:
        checker.wrong(
            (*path, "client_ca"), "is required: somebody must vouch for certificates of clients"
        )
    elif tls.client_ca is not None and not asks:
        checker.wrong(
            (*path, "client_ca"), "has no meaning while client_certificate is off: clients are "
            "not asked for one",
        )  # fmt: skip


def _check_proxy_protocol(root: Root, checker: Checker) -> None:
    listen = root.listen
    path = ("listen", "proxy_protocol_from")
    for index, network in enumerate(listen.proxy_protocol_from):
        check_network(network, (*path, index), checker)
    if listen.proxy_protocol == "off":
        if listen.proxy_protocol_from:
            checker.wrong(path, "has no meaning while proxy_protocol is off")
    elif not listen.proxy_protocol_from and not root.forwarded.trusted:
        checker.wrong(
            path, "is required where forwarded.trusted is empty: every connection would be refused"
        )


def _check_upstream(tls: UpstreamTls, url: str, path: Path, checker: Checker) -> None:
    if not is_tls(url):
        checker.wrong(path, "has no meaning for a url that is not https://")
        return
    if (tls.certificate is None) != (tls.key is None):
        missing = "key" if tls.key is None else "certificate"
        checker.wrong((*path, missing), "is required: certificate and key come together")
    for key in ("ca", "certificate", "key"):
        if getattr(tls, key) == "":
            checker.wrong((*path, key), "must not be empty")
    if tls.server_name is not None and not _is_name(tls.server_name):
        checker.wrong((*path, "server_name"), "must be a host name or an IP address")


def _is_name(text: str) -> bool:
    """A name, or an address without brackets, as certificates have it."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _SERVER_NAME.fullmatch(text) is not None
    return True


def _check_certificates(root: Root, checker: Checker) -> None:
    credentials = root.credentials
    owners = Owners(credentials.issuers, checker)
    domains: dict[str, int] = {}
    for index, each in enumerate(credentials.spiffe):
        path: Path = ("credentials", "spiffe", index)
        if not _TRUST_DOMAIN.fullmatch(each.trust_domain):
            checker.wrong(
                (*path, "trust_domain"),
                "must be a trust domain, such as prod.example.com: lower-case letters, digits, "
                "`.`, `-` and `_`",
                each.trust_domain.lower().removeprefix("spiffe://").rstrip("/")
                if checker.is_written((*path, "trust_domain"))
                else "",
            )
        first = domains.setdefault(each.trust_domain, index)
        if first != index:
            checker.wrong(
                (*path, "trust_domain"), f"the same trust domain as credentials.spiffe[{first}]"
            )
        elif index:
            checker.wrong(path, _VOUCHED)
        else:
            _check_owner(each.tenant, each.subject_prefix, path, owners, checker)
    names = credentials.certificate_names
    if names is not None:
        path = ("credentials", "certificate_names")
        if credentials.spiffe:
            checker.wrong(path, _VOUCHED)
        else:
            _check_owner(names.tenant, names.subject_prefix, path, owners, checker)
    _check_routes(root, checker)


def _check_owner(tenant: str, prefix: str, path: Path, owners: Owners, checker: Checker) -> None:
    if not tenant:
        checker.wrong((*path, "tenant"), "must not be empty")
    else:
        owners.add(tenant, prefix, path)


def _check_routes(root: Root, checker: Checker) -> None:
    """Routes that ask for certificates can get some."""
    credentials, tls = root.credentials, root.listen.tls
    mapped = bool(credentials.spiffe) or credentials.certificate_names is not None
    asked = tls is not None and tls.client_certificate != "off"
    if mapped and not asked and checker.is_sound(("listen", "tls")):
        where = ("credentials", "spiffe" if credentials.spiffe else "certificate_names")
        checker.wrong(
            where,
            "has no meaning while clients are asked for no certificate: set "
            "listen.tls.client_certificate",
        )
    for index, rule in enumerate(root.routes):
        path = ("routes", index, "credential")
        if rule.credential == "token":
            continue
        if rule.access == "public":
            checker.remark(path, "has no meaning on a public route: nobody is asked who they are")
        elif not mapped:
            checker.remark(
                path, "asks for certificates, but neither credentials.spiffe nor "
                "credentials.certificate_names says whose they are",
            )  # fmt: skip
        elif rule.credential == "certificate" and (rule.audiences or rule.scopes):
            checker.remark(path, "a certificate has neither audiences nor scopes to ask for")

"""Checks of what is accepted as proof of who is asking."""

import re
from typing import Final
from urllib.parse import urlsplit

from sidecar.settings.address import is_loopback
from sidecar.settings.checker import Checker
from sidecar.settings.problem import Path, render
from sidecar.settings.schema import Issuer, Root

# RFC 6265 section 4.1.1: the name of a cookie is a token.
TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
# RFC 9110 section 5.6.4: what a quoted string holds without escapes.
_QUOTED: Final = re.compile(r"[ !#-\[\]-~]*", re.ASCII)

_APART: Final = "not begin with, nor be the beginning of,"


def check_credentials(root: Root, checker: Checker) -> None:
    """Sessions, issuers and where browsers are sent."""
    credentials = root.credentials
    certificates = credentials.spiffe or credentials.certificate_names
    if credentials.session is None and not credentials.issuers and not certificates:
        # Routes could all be public, but then nothing of ours is needed.
        checker.wrong(("credentials",), "accepts nobody: give session, issuers or both")
    if credentials.session is not None and not TOKEN.fullmatch(credentials.session.cookie):
        checker.wrong(
            ("credentials", "session", "cookie"),
            "must be the name of a cookie: letters, digits, `-` and `_`",
        )
    if not _QUOTED.fullmatch(credentials.realm):
        checker.wrong(("credentials", "realm"), 'must be printable ASCII without `"` and `\\`')
    if credentials.sign_in_url is not None:
        path = ("credentials", "sign_in_url")
        checker.parsed(path, credentials.sign_in_url, _sign_in_url)
    for index, issuer in enumerate(credentials.issuers):
        _check_issuer(issuer, ("credentials", "issuers", index), checker)
    _check_distinct(credentials.issuers, checker)


def _sign_in_url(url: str) -> str:
    rest = url.replace("{target}", "")
    if not re.fullmatch(r"[!-~]+", url, re.ASCII) or any(mark in rest for mark in '{}"<>\\'):
        raise ValueError("a URL in which {target} is the only placeholder")
    if url.startswith("/") and not url.startswith("//"):
        return url
    try:
        parts = urlsplit(url.replace("{target}", "x"))
        if parts.scheme in {"http", "https"} and parts.hostname and parts.username is None:
            return url
    except ValueError:
        pass
    raise ValueError("a path such as /sign-in?next={target}, or an http(s) URL")


def _check_issuer(issuer: Issuer, path: Path, checker: Checker) -> None:
    if not issuer.issuer:
        checker.wrong((*path, "issuer"), "must not be empty")
    for index, audience in enumerate(issuer.audiences):
        if not audience:
            checker.wrong((*path, "audiences", index), "must not be empty")
    _check_tenancy(issuer, path, checker)
    if issuer.roles_claim is not None and not issuer.roles_claim.startswith("/"):
        checker.wrong(
            (*path, "roles_claim"),
            "must be a JSON pointer, such as /realm_access/roles (RFC 6901)",
        )
    keys = (*path, "jwks")
    if (issuer.jwks.url is None) == (issuer.jwks.file is None):
        given = "both are given" if issuer.jwks.url is not None else "neither is given"
        checker.wrong(keys, f"needs exactly one of url and file; {given}")
    elif issuer.jwks.url is not None:
        checker.parsed((*keys, "url"), issuer.jwks.url, _key_url)


def _key_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("an https URL") from None
    if not host or parts.scheme not in {"http", "https"} or not re.fullmatch("[!-~]+", url):
        raise ValueError("an https URL")
    if parts.username is not None:
        raise ValueError("an https URL without user and password")
    if parts.scheme == "http" and not is_loopback(host):
        # Whoever can change the keys on the way can sign tokens.
        raise ValueError("an https URL: over http anybody on the way could replace the keys")
    return url


def _check_tenancy(issuer: Issuer, path: Path, checker: Checker) -> None:
    """Exactly one way to the tenant."""
    if (issuer.tenant is None) == (issuer.tenant_claim is None):
        given = "both are given" if issuer.tenant is not None else "neither is given"
        checker.wrong((*path, "tenant"), f"needs exactly one of tenant and tenant_claim; {given}")
    elif issuer.tenant == "" or issuer.tenant_claim == "":
        key = "tenant" if issuer.tenant == "" else "tenant_claim"
        checker.wrong((*path, key), "must not be empty")
    elif issuer.tenant_claim is not None and not issuer.tenants:
        checker.wrong((*path, "tenants"), "must name the tenants that tenant_claim may choose from")
    elif issuer.tenant is not None and issuer.tenants:
        checker.wrong((*path, "tenants"), "belongs to tenant_claim; with tenant it has no meaning")


class Owners:
    """Who speaks for which subjects of a tenant: no two may mean each other's."""

    def __init__(self, issuers: tuple[Issuer, ...], checker: Checker) -> None:
        self._checker = checker
        self._owners: dict[str, list[tuple[str, Path]]] = {}
        for index, issuer in enumerate(issuers):
            for tenant in _tenants(issuer):
                self._owners.setdefault(tenant, []).append(
                    (issuer.subject_prefix, ("credentials", "issuers", index))
                )

    def add(self, tenant: str, prefix: str, path: Path) -> bool:
        """Note that `path` speaks for subjects with this prefix; False where another one does."""
        owners = self._owners.setdefault(tenant, [])
        for other, owner in owners:
            # With `a:` and `a:b:`, the first one's subject `b:c` is the second one's `c`.
            if prefix.startswith(other) or other.startswith(prefix):
                what = "differ from" if prefix == other else _APART
                self._checker.wrong(
                    (*path, "subject_prefix"),
                    f"must {what} that of {render(owner)}: both speak for one tenant, and one's "
                    "subject could be taken for the other's",
                )
                return False
        owners.append((prefix, path))
        return True


def _tenants(issuer: Issuer) -> list[str]:
    return sorted({issuer.tenant} if issuer.tenant is not None else set(issuer.tenants))


def _check_distinct(issuers: tuple[Issuer, ...], checker: Checker) -> None:
    """No two issuers of one name, and no two that could mean each other's subjects."""
    names: dict[str, int] = {}
    owners = Owners((), checker)
    for index, issuer in enumerate(issuers):
        path = ("credentials", "issuers", index)
        first = names.setdefault(issuer.issuer, index)
        if first != index:
            message = f"the same issuer as credentials.issuers[{first}]"
            checker.wrong((*path, "issuer"), message)
            continue
        for tenant in _tenants(issuer):
            if not owners.add(tenant, issuer.subject_prefix, path):
                break

"""TLS, PROXY headers and certificates: what belongs together, and what means nothing alone."""

from pathlib import Path

import pytest

from sidecar.settings.load import parse
from sidecar.settings.problem import SettingsError
from sidecar.settings.schema import Root, Tls, UpstreamTls

PARTS = {
    "upstreams": '{app: {url: "http://127.0.0.1:9000"}}',
    "credentials": '{token_key: "0123456789abcdef0123456789abcdef"}',
    "routes": "[{path: /, access: authenticated}]",
    "stores": '{postgres: {dsn: "postgresql://db/sidecar"}}',
}
FILES = "certificate: a.crt, key: a.key"
MUTUAL = f"{{tls: {{{FILES}, client_ca: ca.crt, client_certificate: optional}}}}"
KEY = 'token_key: "0123456789abcdef0123456789abcdef"'
SPIFFE = f"{{{KEY}, spiffe: [{{trust_domain: a.example, tenant: acme}}]}}"


def settings(**parts: str) -> Root:
    text = "".join(f"{name}: {value}\n" for name, value in (PARTS | parts).items())
    return parse(text, environ={}, file="f", base=Path("/etc/sidecar"))


def problems(**parts: str) -> list[str]:
    """What is wrong, without its place."""
    with pytest.raises(SettingsError) as caught:
        settings(**parts)
    return [str(problem).split(": ", 1)[1] for problem in caught.value.problems]


def upstream(text: str) -> str:
    return f"{{app: {{{text}}}}}"


LISTEN = {
    f"{{tls: {{{FILES}, client_certificate: required}}}}": (
        "listen.tls.client_ca: is required: somebody must vouch for certificates of clients"
    ),
    f"{{tls: {{{FILES}, client_ca: ca.crt}}}}": (
        "listen.tls.client_ca: has no meaning while client_certificate is off: clients are not "
        "asked for one"
    ),
    "{tls: {certificate: a.crt}}": "listen.tls.key: is required",
    '{tls: {certificate: "", key: a.key}}': "listen.tls.certificate: must not be empty",
    f"{{tls: {{{FILES}, minimum_version: '1.1'}}}}": (
        "listen.tls.minimum_version: must be one of 1.2, 1.3 (did you mean 1.3?)"
    ),
    "{proxy_protocol: required}": (
        "listen.proxy_protocol_from: is required where forwarded.trusted is empty: every "
        "connection would be refused"
    ),
    "{proxy_protocol_from: [10.0.0.0/8]}": (
        "listen.proxy_protocol_from: has no meaning while proxy_protocol is off"
    ),
    "{proxy_protocol: required, proxy_protocol_from: [10.0.0.1/8]}": (
        "listen.proxy_protocol_from[0]: must be a network such as 10.0.0.0/8, or unix (did you "
        "mean 10.0.0.0/8?)"
    ),
    "{workers: 0}": "listen.workers: must be a whole number from 1 to 64",
    "{deadlines: {handshake_seconds: 0}}": (
        "listen.deadlines.handshake_seconds: must be a number greater than 0"
    ),
}


@pytest.mark.parametrize("listen", LISTEN)
def test_a_wrong_listener(listen: str) -> None:
    assert problems(listen=listen) == [LISTEN[listen]]


UPSTREAMS = {
    'url: "http://app", tls: {ca: a}': (
        "upstreams.app.tls: has no meaning for a url that is not https://"
    ),
    'url: "https://app", tls: {key: a}': (
        "upstreams.app.tls.certificate: is required: certificate and key come together"
    ),
    'url: "https://app", tls: {certificate: a}': (
        "upstreams.app.tls.key: is required: certificate and key come together"
    ),
    'url: "https://app", tls: {ca: ""}': "upstreams.app.tls.ca: must not be empty",
    'url: "https://app", tls: {server_name: "a b"}': (
        "upstreams.app.tls.server_name: must be a host name or an IP address"
    ),
    'url: "https://app", tls: {verify: false}': (
        "upstreams.app.tls.verify: unknown key; known here: ca, server_name, certificate, key, "
        "reload_seconds"
    ),
}


@pytest.mark.parametrize("text", UPSTREAMS)
def test_a_wrong_upstream(text: str) -> None:
    assert problems(upstreams=upstream(text)) == [UPSTREAMS[text]]


VOUCHED = (
    "client_ca vouches for one trust domain or for certificate_names, not for several: any "
    "authority in it could sign for each of them. Leave one; others need a sidecar of their own"
)
CREDENTIALS = {
    f"{{{KEY}, spiffe: [{{trust_domain: 'spiffe://A.example/', tenant: acme}}]}}": (
        "credentials.spiffe[0].trust_domain: must be a trust domain, such as prod.example.com: "
        "lower-case letters, digits, `.`, `-` and `_` (did you mean a.example?)"
    ),
    f"{{{KEY}, spiffe: [{{trust_domain: a, tenant: ''}}]}}": (
        "credentials.spiffe[0].tenant: must not be empty"
    ),
    f"{{{KEY}, spiffe: [{{trust_domain: a, tenant: t}}, "
    "{trust_domain: a, tenant: t, subject_prefix: x}]}": (
        "credentials.spiffe[1].trust_domain: the same trust domain as credentials.spiffe[0]"
    ),
    f"{{{KEY}, spiffe: [{{trust_domain: a, tenant: t}}, {{trust_domain: b, tenant: t}}]}}": (
        f"credentials.spiffe[1]: {VOUCHED}"
    ),
    f"{{{KEY}, spiffe: [{{trust_domain: a, tenant: t}}, {{trust_domain: b, tenant: u}}]}}": (
        f"credentials.spiffe[1]: {VOUCHED}"
    ),
    f"{{{KEY}, spiffe: [{{trust_domain: a, tenant: t}}], certificate_names: {{tenant: t}}}}": (
        f"credentials.certificate_names: {VOUCHED}"
    ),
    f"{{{KEY}, issuers: [{{issuer: i, audiences: [a], jwks: {{file: k}}, tenant: t}}], "
    "certificate_names: {tenant: t}}": (
        "credentials.certificate_names.subject_prefix: must differ from that of "
        "credentials.issuers[0]: both speak for one tenant, and one's subject could be taken for "
        "the other's"
    ),
}


CREDENTIALS[
    f"{{{KEY}, issuers: [{{issuer: i, audiences: [a], jwks: {{file: k}}, tenant: t}}], "
    "spiffe: [{trust_domain: a, tenant: t, subject_prefix: 'w:'}]}"
] = (
    "credentials.spiffe[0].subject_prefix: must not begin with, nor be the beginning of, that of "
    "credentials.issuers[0]: both speak for one tenant, and one's subject could be taken for the "
    "other's"
)


@pytest.mark.parametrize("credentials", CREDENTIALS)
def test_wrong_credentials(credentials: str) -> None:
    assert problems(credentials=credentials, listen=MUTUAL) == [CREDENTIALS[credentials]]


def test_certificates_that_nobody_asks_clients_for() -> None:
    expected = (
        "credentials.{}: has no meaning while clients are asked for no certificate: set "
        "listen.tls.client_certificate"
    )
    names = f"{{{KEY}, certificate_names: {{tenant: t}}}}"
    assert problems(credentials=SPIFFE) == [expected.format("spiffe")]
    assert problems(credentials=names, listen=f"{{tls: {{{FILES}}}}}") == [
        expected.format("certificate_names")
    ]


ROUTES = {
    "access: public, credential: either": (
        "has no meaning on a public route: nobody is asked who they are"
    ),
    "access: authenticated, credential: certificate, scopes: [a]": (
        "a certificate has neither audiences nor scopes to ask for"
    ),
    "access: authenticated, credential: certifcate": (
        "must be one of certificate, either, token (did you mean certificate?)"
    ),
}


@pytest.mark.parametrize("rule", ROUTES)
def test_a_wrong_route(rule: str) -> None:
    found = problems(routes=f"[{{path: /, {rule}}}]", listen=MUTUAL, credentials=SPIFFE)
    assert found == [f"routes[0].credential: {ROUTES[rule]}"]


def test_a_route_that_asks_for_certificates_of_nobody() -> None:
    rule = "[{path: /, access: authenticated, credential: either}]"
    (found,) = problems(routes=rule, listen=MUTUAL)
    assert found == (
        "routes[0].credential: asks for certificates, but neither credentials.spiffe nor "
        "credentials.certificate_names says whose they are"
    )


def test_certificates_alone_are_somebody() -> None:
    alone = SPIFFE.replace("spiffe", "session: null, spiffe")
    assert settings(credentials=alone, listen=MUTUAL).credentials.session is None


def test_the_proxies_of_the_fields_are_those_of_the_header() -> None:
    root = settings(listen="{proxy_protocol: required}", forwarded="{trusted: [10.0.0.0/8]}")
    assert root.listen.proxy_protocol == "required"


def test_files_are_named_from_the_folder_of_the_configuration() -> None:
    tls = "{ca: ca.crt, server_name: '127.0.0.1', certificate: /a.crt, key: b/a.key}"
    root = settings(listen=MUTUAL, upstreams=upstream(f'url: "https://app", tls: {tls}'))
    assert root.listen.tls == Tls(
        certificate="/etc/sidecar/a.crt",
        key="/etc/sidecar/a.key",
        client_ca="/etc/sidecar/ca.crt",
        client_certificate="optional",
    )
    assert root.upstreams["app"].tls == UpstreamTls(
        ca="/etc/sidecar/ca.crt",
        server_name="127.0.0.1",
        certificate="/a.crt",
        key="/etc/sidecar/b/a.key",
    )


@pytest.mark.parametrize("name", ["::1", "10.0.0.1", "a.b"])
def test_names_of_servers(name: str) -> None:
    text = f'url: "https://app", tls: {{server_name: "{name}"}}'
    found = settings(upstreams=upstream(text)).upstreams["app"].tls
    assert found is not None
    assert found.server_name == name

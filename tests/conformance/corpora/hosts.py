"""Host: one, well formed (RFC 9112 section 3.2); what is forwarded is its lower-case form."""

from tests.conformance.corpora.build import refused, served
from tests.conformance.harness import Case

_HOST = "RFC 9110 7.2: virtual hosts, links in mails and caches depend on it"


def _with(*lines: bytes) -> bytes:
    return b"\r\n".join((b"GET / HTTP/1.1", *lines, b"X-Nonce: case", b"", b""))


CASES: list[Case] = [
    *served(
        {
            "a name": (_with(b"Host: app.example"), _HOST),
            "a port": (_with(b"Host: app.example:8080"), _HOST),
            "upper case": (_with(b"HOST: App.EXAMPLE"), "hosts know no case"),
            "a dot behind": (_with(b"Host: app.example."), "a fully qualified name"),
            "an underscore": (_with(b"Host: my_app.svc"), "occurs inside clusters"),
            "IPv4": (_with(b"Host: 127.0.0.1:80"), _HOST),
            "IPv6": (_with(b"Host: [::1]:80"), _HOST),
            "white space around": (_with(b"Host: \t app.example \t"), "OWS"),
            "another Host by an underscore": (
                _with(b"Host: app.example", b"Host_: evil", b"_Host: evil"),
                "another field",
            ),
            "X-Forwarded-Host and X-Host": (
                _with(b"Host: app.example", b"X-Forwarded-Host: evil", b"X-Host: evil"),
                "password reset links are built from them",
            ),
        }
    ),
    *refused(
        {
            "none": (_with(), "RFC 9112 3.2: MUST be 400"),
            "two": (_with(b"Host: a", b"Host: b"), "RFC 9112 3.2: MUST be 400"),
            "two that agree": (_with(b"Host: a", b"host: a"), "RFC 9112 3.2: MUST be 400"),
            "empty": (_with(b"Host:"), "no virtual host has no name"),
            "blank": (_with(b"Host:   "), "no virtual host has no name"),
            "a list": (_with(b"Host: a, b"), _HOST),
            "a space within": (_with(b"Host: a b"), _HOST),
            "a path": (_with(b"Host: a/b"), _HOST),
            "a path that climbs": (_with(b"Host: a/../b"), _HOST),
            "userinfo": (_with(b"Host: app.example@evil"), "RFC 9110 4.2.4"),
            "userinfo with a port": (_with(b"Host: app.example:80@evil"), "RFC 9110 4.2.4"),
            "a scheme": (_with(b"Host: http://a"), _HOST),
            "a query": (_with(b"Host: a?b"), _HOST),
            "a fragment": (_with(b"Host: a#b"), _HOST),
            "a backslash": (_with(b"Host: a\\b"), _HOST),
            "a percent sign": (_with(b"Host: a%2eb"), "decoded by some"),
            "no port": (_with(b"Host: a:"), "RFC 9110 allows it; one reading is worth more"),
            "a word for a port": (_with(b"Host: a:b"), _HOST),
            "a port with a sign": (_with(b"Host: a:+80"), _HOST),
            "a port too high": (_with(b"Host: a:65536"), _HOST),
            "two ports": (_with(b"Host: a:80:81"), _HOST),
            "IPv6 without brackets": (_with(b"Host: ::1"), _HOST),
            "IPv6 half bracketed": (_with(b"Host: [::1"), _HOST),
            "a zone": (_with(b"Host: [fe80::1%25eth0]"), "RFC 9110 4.2.4 has no zones"),
            "a NUL": (_with(b"Host: a\x00.evil"), "C strings end there"),
            "a dot before": (_with(b"Host: .a"), _HOST),
            "two dots": (_with(b"Host: a..b"), _HOST),
            "a dash before": (_with(b"Host: -a"), "an option for some program"),
            "UTF-8": (_with("Host: bücher.example".encode()), "RFC 3986: A-labels"),
            "a semicolon": (_with(b"Host: a;b"), _HOST),
            "quoted": (_with(b'Host: "a"'), _HOST),
            "300 letters": (_with(b"Host: " + b"a" * 300), "RFC 1035: at most 255"),
            "a template": (_with(b"Host: ${jndi:ldap://evil}"), "log4shell"),
            "a script": (_with(b"Host: a<script>"), _HOST),
            "folded": (_with(b"Host: a\r\n b"), "RFC 9112 5.2"),
            "a space before": (_with(b" Host: a"), "RFC 9112 2.2"),
            "a space before the colon": (_with(b"Host : a"), "RFC 9112 5.1"),
        },
        group="Host: ",
    ),
]

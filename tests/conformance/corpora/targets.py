"""Targets: one canonical form, which is authorized and sent, or 400 (docs/http.md)."""

from tests.conformance.corpora.build import start
from tests.conformance.harness import Case

_DOTS = "a dot segment: servers resolve it before or after decoding"
_SLASH = "Tomcat, IIS, Spring and nginx decode it at different moments"
_PARAMETER = "servlet containers cut path parameters off, others do not"
_CONTROL = "C strings end at NUL; some proxies cut at LF"
_UTF8 = "lenient decoders take over-long forms for '.', '/' and '\\'"

# Target -> why. All are 400.
_REFUSED: dict[bytes, str] = {
    b"/a/../b": _DOTS, b"/..": _DOTS, b"/../": _DOTS, b"/.": _DOTS, b"/a/.": _DOTS, b"/./a": _DOTS,
    b"/a/..": _DOTS, b"/a/%2e%2e/b": _DOTS, b"/a/%2E%2E/b": _DOTS, b"/a/.%2e/b": _DOTS,
    b"/a/%2e./b": _DOTS, b"/%2e/a": _DOTS, b"/a/%2e%2e": _DOTS, b"/a/..?x": _DOTS,
    b"/..%2f..%2fetc": _SLASH, b"/..%5c..%5cwin": _SLASH, b"/%2e%2e%2fadmin": _SLASH,
    b"/a%2fb": _SLASH, b"/a%2Fb": _SLASH, b"/%2f": _SLASH, b"/a%5cb": _SLASH, b"/a%5Cb": _SLASH,
    b"/a\\b": _SLASH, b"\\a": _SLASH, b"/\\evil.example": "browsers take \\ for /: //evil.example",
    b"//a": "the first segment, or an authority?", b"/a//b": "some merge slashes, some do not",
    b"/a//": "some merge slashes", b"//evil.example/%2f..": "an open redirect where it is echoed",
    b"///evil.example": "an open redirect where it is echoed",
    b"/a;x=1/b": _PARAMETER, b"/a;/b": _PARAMETER, b"/;a": _PARAMETER, b"/a%3bb": _PARAMETER,
    b"/a%3Bx/..;/b": _PARAMETER, b"/..;/admin": _PARAMETER, b"/a/..;a=b/c": _PARAMETER,
    b"/a;.css": "cache deception", b"/a%00": _CONTROL, b"/a%00.css": _CONTROL,
    b"/%00/a": _CONTROL, b"/a%0a": _CONTROL, b"/a%0d%0aX-Auth-User:%20root": _CONTROL,
    b"/a%09b": _CONTROL, b"/a%1fb": _CONTROL, b"/a%7fb": _CONTROL, b"/a\x01b": _CONTROL,
    b"/a\x7fb": _CONTROL, b"/a\x00b": _CONTROL,
    b"/%252e%252e/a": "decoded twice: a dot segment", b"/a%252fb": "decoded twice: a slash",
    b"/a%25": "a bare percent sign after decoding", b"/a%2": "half a triplet", b"/a%": "no triplet",
    b"/a%zz": "no hexadecimal digits", b"/a%2gb": "one hexadecimal digit", b"/a%u002e": "IIS's own",
    b"/a%u2215b": "IIS's own", b"/%%32%65": "decoded twice it is %2e",
    b"/%c0%ae%c0%ae/a": _UTF8, b"/%c0%af": _UTF8, b"/a%c0%2fb": _UTF8, b"/%e0%80%ae": _UTF8,
    b"/%e0%80%af": _UTF8, b"/%f0%80%80%af": _UTF8, b"/%c1%9c": _UTF8, b"/%fc%80%80%80%80%af": _UTF8,
    b"/%c0%80": _UTF8, b"/%ff": "no UTF-8", b"/%80": "no UTF-8", b"/%e4": "ISO 8859-1's",
    b"/%ed%a0%80": "a surrogate", b"/%f4%90%80%80": "beyond Unicode", b"/a\xc3\xa4": "bare UTF-8",
    b"/a\xe4": "bare ISO 8859-1", b"/a#b": "a fragment never belongs in a target",
    b"/#": "a fragment", b"/a?b#c": "a fragment", b"/a%3f%23;": _PARAMETER,
    b"*": "asterisk-form asks the server itself, which is not ours to answer",
    b"app.example:80": "CONNECT has it", b"app.example": "neither form", b"a/b": "no /",
    b"?a": "no path", b"": "no target", b"http:/a": "neither form", b"http:///a": "no authority",
    b"http://": "no authority", b"ftp://app.example/a": "a scheme that is not ours",
    b"file:///etc/passwd": "a scheme that is not ours", b"://app.example/": "no scheme",
    b"http://app.example\\@evil/": "where does the authority end?",
    b"http://app.example#@evil/": "where does the authority end?",
    b"http://user@app.example/": "RFC 9110 4.2.4: userinfo", b"http://app.example:x/": "no port",
    b"http://app.example:99999/": "no port", b"http://evil.example/": "not the Host",
    b"http://app.example:81/": "not the Host", b"http://app.example//": "an empty segment",
    b"http://app.example/../a": _DOTS, b"http://app.example/a;b": _PARAMETER,
    b"http://app.example?a b": "a space in the query", b"javascript:alert(1)": "no such form",
    b"/a?b c": "a space in the query", b"/a?\xff": "the query is visible ASCII",
    b"/a?b\x00c": _CONTROL, b"/a?b\x0bc": _CONTROL,
}  # fmt: skip

# Target -> (what is forwarded, why).
_CANONICAL: dict[bytes, tuple[bytes, str]] = {
    b"/a/b?c=d": (b"/a/b?c=d", "already canonical"),
    b"/a/": (b"/a/", "a slash at the end is kept: it is another resource"),
    b"/%61%62": (b"/ab", "RFC 3986 6.2.2.2: unreserved characters are decoded"),
    b"/%7euser": (b"/~user", "RFC 3986 6.2.2.2"),
    b"/a%2ehtml": (b"/a.html", "a dot that is no segment"),
    b"/%2e%2e%2e": (b"/...", "three dots are a name"),
    b"/...": (b"/...", "three dots are a name"),
    b"/.a": (b"/.a", "a hidden file is a name"),
    b"/a..": (b"/a..", "dots at the end are a name"),
    b"/%c3%a4": (b"/%C3%A4", "RFC 3986 6.2.2.1: upper-case digits"),
    b"/%C3%a4": (b"/%C3%A4", "mixed case"),
    b"/a%20b": (b"/a%20b", "a space stays encoded"),
    b"/a%3fb": (b"/a%3Fb", "an encoded ? is no query"),
    b"/a%23b": (b"/a%23b", "an encoded # is no fragment"),
    b"/a%40b": (b"/a%40b", "reserved characters stay as they are"),
    b"/a|b": (b"/a%7Cb", "browsers leave it bare"),
    b'/a"b': (b"/a%22b", "browsers leave it bare"),
    b"/{a}": (b"/%7Ba%7D", "browsers leave it bare"),
    b"/a^b`c": (b"/a%5Eb%60c", "browsers leave it bare"),
    b"/<a>": (b"/%3Ca%3E", "browsers leave it bare"),
    b"/[1]": (b"/%5B1%5D", "browsers leave it bare"),
    b"/a?b=../../c;d//e%2f%00": (b"/a?b=../../c;d//e%2f%00", "the query is the application's"),
    b"/a??b": (b"/a??b", "a ? in a query"),
    b"/?": (b"/?", "an empty query"),
    b"http://app.example/a?b": (b"/a?b", "absolute-form, RFC 9112 3.2.2"),
    b"HTTP://APP.EXAMPLE/a": (b"/a", "scheme and host know no case"),
    b"https://app.example/a": (b"/a", "the scheme is not what decides"),
    b"http://app.example": (b"/", "an empty path"),
    b"http://app.example?a=b": (b"/?a=b", "an empty path with a query"),
}

CASES: list[Case] = [
    Case(repr(target), start(b"GET " + target + b" HTTP/1.1"), (400,), why)
    for target, why in _REFUSED.items()
] + [
    Case(repr(target), start(b"GET " + target + b" HTTP/1.1"), (200,), why, targets=(forwarded,))
    for target, (forwarded, why) in _CANONICAL.items()
]
# An authenticated route behind two spellings: what is authorized is what is sent.
CASES += [
    Case(
        f"without a token: {target!r}",
        start(b"GET " + target + b" HTTP/1.1"),
        (401,),
        "the route that was matched is the route of what is sent",
        closes=False,
    )
    for target in (b"/private/a", b"/%70rivate/a", b"/privat%65/a", b"http://app.example/private/a")
]

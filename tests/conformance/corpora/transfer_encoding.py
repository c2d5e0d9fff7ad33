"""Spellings of Transfer-Encoding, each with and without a length beside it.

Every pair of readers that differ (CL.TE, TE.CL, TE.TE, CL.0) would take a part of the body for a
request. Each spelling is one of: *refused* always; *chunked*, which is refused beside a length and
otherwise chunked; or *another field*, dropped or passed on, whose body is as long as its length.
"""

from tests.conformance.corpora.build import SMUGGLED, post
from tests.conformance.harness import Case

_ODD = [*range(1, 0x20), 0x7F, 0x80, 0x85, 0xA0, 0xAD, 0xC2, 0xFF]
# Between a name's letters these would still be a name (RFC 9110 section 5.6.2).
_TOKEN = b"!#$%&'*+.^_`|~"

# llhttp and we agree that OWS is no part of a value (RFC 9110 section 5.5).
_CHUNKED = (
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding:chunked",
    b"Transfer-Encoding:  chunked",
    b"Transfer-Encoding:\tchunked",
    b"Transfer-Encoding: \t chunked ",
    b"Transfer-Encoding: chunked  ",
    b"TRANSFER-ENCODING: CHUNKED",
    b"TrAnSFer-EnCODinG: cHuNkeD",
)
_OTHER_FIELDS = (
    b"Transfer_Encoding: chunked",
    b"Transfer.Encoding: chunked",
    b"transfer_encoding: chunked",
    b"TransferEncoding: chunked",
    b"Transfer-Encodings: chunked",
    b"X-Transfer-Encoding: chunked",
    b"Transfer--Encoding: chunked",
    b"-Transfer-Encoding: chunked",
    b"Transfer-Encoding-: chunked",
    b"Content-Encoding: chunked",
    b"TE: chunked",
    b"Trailer: Transfer-Encoding",
    *(b"Transfer%cEncoding: chunked" % byte for byte in _TOKEN),
    *(b"Transfer-Encoding%c: chunked" % byte for byte in _TOKEN),
)
# Chunked comes last, but not alone: RFC 9112 section 6.1, not understood, 501.
_MORE_THAN_CHUNKED = (
    b"gzip, chunked", b"cow, chunked", b",chunked", b", chunked", b"identity, chunked",
    b"trailers, chunked",
)  # fmt: skip
# Chunked is not last, or nothing of the kind is: RFC 9112 section 6.3, 400.
_NOT_CHUNKED = (
    b"gzip", b"chunked, gzip", b"chunked, chunked", b"identity", b"cow", b"chunked, cow",
    b"cow chunked bar", b"chunk", b"chunkedchunked", b"chunked,", b'"chunked"', b"'chunked'",
    b"chunked;q=1", b"chunked; a=b", b"xchunked", b"chunkedx", b"chunked, identity", b"",
    b"chunked\xff", b"\xa0chunked", b"\x85chunked\xa0", b"ch\x96nked", b"ch\xfcnked",
    b"chunked\xc2\xa0", b"[chunked]", b"{chunked}", b"chunked=1", b"%63hunked", b"chu nked",
    b"CHUN\xe1\xb8\xb0ED", b"chunked\t", b" \tchunked \t ",
)  # fmt: skip
_REFUSED = (
    b" Transfer-Encoding: chunked",
    b"\tTransfer-Encoding: chunked",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked",
    b"Transfer-Encoding\t:\tchunked",
    b"Transfer Encoding: chunked",
    b"Transfer-Encoding chunked",
    b"Transfer-Encoding",
    b"Transfer-\r\nEncoding: chunked",
    b"Transfer\r-Encoding: chunked",
    b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding:\n chunked",
    b"Transfer-Encoding: chunked\r\n , cow",
    b"Transfer-Encoding: chunked\r",
    b"Transfer-Encoding: chunked\n",
    b"Transfer-Encoding: chunked\x00",
    b"X: x\rTransfer-Encoding: chunked",
    b"X: x\nTransfer-Encoding: chunked",
    b"X: x\r\n\tTransfer-Encoding: chunked",
    b"X: x\r\rTransfer-Encoding: chunked",
    b"\xefTransfer-Encoding: chunked",
    b"Transf\x82r-Encoding: chunked",
    b"Transfer\xe2\x80\x90Encoding: chunked",
    b": chunked",
    *(b"Transfer-Encoding%c: chunked" % byte for byte in _ODD if byte not in {0x0A, 0x0D}),
    *(b"%cTransfer-Encoding: chunked" % byte for byte in _ODD if byte not in {0x0A, 0x0D}),
    *(b"Transfer-Encoding:%cchunked" % byte for byte in (0x0B, 0x0C, 0x01, 0x1F, 0x7F)),
    *(b"Transfer-Encoding: chunked%c" % byte for byte in (0x0B, 0x0C, 0x01, 0x1F, 0x7F)),
)
_TWICE = (
    (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    (b"Transfer-Encoding: chunked", b"Transfer-Encoding: cow"),
    (b"Transfer-Encoding: cow", b"Transfer-Encoding: chunked"),
    (b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"),
    (b"Transfer-Encoding: chunked", b"transfer-encoding: identity"),
    (b"Transfer-Encoding:", b"Transfer-Encoding: chunked"),
)

# Read as chunks it ends at once and a request follows; by its length all of it is one body.
_BODY = b"0\r\n\r\n" + SMUGGLED
_LENGTH = b"Content-Length: %d" % len(_BODY)
_CL_TE = "read by its length and read by its chunks it ends in two places"

CASES: list[Case] = []
for _line in _CHUNKED:
    CASES += [
        Case(f"{_line!r} and a length", post(_LENGTH, _line, body=_BODY), (400,), _CL_TE),
        Case(f"a length and {_line!r}", post(_line, _LENGTH, body=_BODY), (400,), _CL_TE),
        Case(
            f"{_line!r}",
            post(_line, body=_BODY),
            (200, 200),
            "chunked, and what follows is a request: there is no other reading",
            bodies=(b"", b""),
        ),
    ]
for _line in dict.fromkeys(_OTHER_FIELDS):
    CASES += [
        Case(
            f"{_line!r} and a length",
            post(_LENGTH, _line, body=_BODY),
            (200,),
            "another field; what some server may fold into ours is dropped",
            bodies=(_BODY,),
        ),
        Case(
            f"{_line!r}",
            post(_line, body=_BODY),
            (200, 400),
            "no body; what follows is no request",
        ),
    ]
for _values, _status in ((_MORE_THAN_CHUNKED, 501), (_NOT_CHUNKED, 400)):
    for _value in _values:
        _line = b"Transfer-Encoding: " + _value
        CASES += [
            Case(f"{_line!r} and a length", post(_LENGTH, _line, body=_BODY), (400,), _CL_TE),
            Case(f"{_line!r}", post(_line, body=_BODY), (_status,), "RFC 9112 6.1 and 6.3"),
        ]
for _line in dict.fromkeys(_REFUSED):
    CASES += [
        Case(f"{_line!r} and a length", post(_LENGTH, _line, body=_BODY), (400,), _CL_TE),
        Case(f"{_line!r}", post(_line, body=_BODY), (400,), "no field, or several"),
    ]
for _lines in _TWICE:
    CASES.append(Case(f"{_lines!r}", post(*_lines, body=_BODY), (400,), "first, last or joined?"))
CASES.append(
    Case(
        "chunks in HTTP/1.0",
        post(b"Transfer-Encoding: chunked", body=_BODY).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
        (400,),
        "RFC 9112 6.1: HTTP/1.0 has none",
    )
)

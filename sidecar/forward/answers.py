"""Answers that we give instead of the upstream: pages for people, problems for programs.

They name the reason code and the request id and nothing else about the cause (STYLE 14).
"""

import html
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import msgspec

from sidecar.forward.response_fields import status_line
from sidecar.model.decision import Denial
from sidecar.model.head import RequestHead
from sidecar.model.reason import Reason
from sidecar.settings.schema import Credentials

_PROBLEM: Final = b"application/problem+json"
_HTML: Final = b"text/html; charset=utf-8"

# Where nothing better is known; what overloads us is mostly over within a second.
_SOON_SECONDS: Final = 1
# What a person can do about a status. One sentence each.
_ADVICE: Final = {
    400: "The request could not be understood. Going back and trying again may help.",
    401: "Please sign in to see this page.",
    403: "You are signed in, but this page is not open to you.",
    404: "There is no such page.",
    405: "This page cannot be used in that way.",
    408: "The request took too long to arrive.",
    413: "What was sent is too large.",
    429: "There were too many requests. Please wait a little and try again.",
    503: "The service is busy or being restarted. Please try again in a moment.",
    504: "The application did not answer in time. Please try again in a moment.",
}

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{status} {title}</title><style>
body{{font:16px/1.5 system-ui,sans-serif;color:#1c2330;background:#f5f6f8;margin:0;display:grid;
min-height:100vh;place-items:center}}main{{background:#fff;border:1px solid #dfe3e8;
border-radius:12px;padding:2.5rem 3rem;max-width:30rem;margin:1rem}}h1{{font-size:1.4rem;margin:0}}
p{{margin:.8rem 0}}small{{color:#5b6573;overflow-wrap:anywhere}}
@media(prefers-color-scheme:dark){{body{{background:#14171c;color:#e6e9ee}}
main{{background:#1c2027;border-color:#323843}}small{{color:#98a2b0}}}}
</style></head><body><main><h1>{title}</h1><p>{advice}</p>{help}
<small>Reason: {reason}<br>Request: {request_id}</small></main></body></html>
"""


class Answers:
    """Writes refusals.

    Args:
        credentials: realm and sign-in address.
        request_id: name of the request id's field.
        help_text: an operator's line for the page and the problem document.
    """

    def __init__(self, credentials: Credentials, request_id: str, help_text: str) -> None:
        realm = credentials.realm.replace("\\", "\\\\").replace('"', '\\"')
        self._realm = f'Bearer realm="{realm}"'
        self._sign_in = credentials.sign_in_url
        self._request_id = request_id.encode()
        self._help = help_text

    def refusal(
        self,
        denial: Denial,
        head: RequestHead,
        request_id: bytes,
        *,
        keep_alive: bool,
        fields: bytes = b"",
    ) -> bytes:
        """The whole response to a denied request.

        Args:
            denial: why.
            head: the request; its Accept chooses the form, its method whether there is a body.
            request_id: id of the exchange.
            keep_alive: whether the connection stays open.
            fields: more fields, each ended by CRLF.
        """
        status = denial.status
        reason = _shown(denial)
        extra: list[bytes] = []
        if status == 401:
            extra.append(b"WWW-Authenticate: " + self._challenge(denial).encode())
        if status == 405 and denial.allow:
            extra.append(b"Allow: " + ", ".join(denial.allow).encode())
        if denial.retry_after or status == 503:
            extra.append(b"Retry-After: %d" % (denial.retry_after or _SOON_SECONDS))
        if fields:
            extra.append(fields.removesuffix(b"\r\n"))
        if _wants_page(head):
            if status == 401 and self._sign_in is not None:
                extra.append(b"Location: " + self._sign_in_location(head))
                return self._compose(302, b"", _HTML, extra, head, request_id, keep_alive)
            body, kind = self._page(status, reason, request_id), _HTML
        else:
            body, kind = self._problem(status, reason, request_id), _PROBLEM
        return self._compose(status, body, kind, extra, head, request_id, keep_alive)

    def empty(
        self, head: RequestHead, request_id: bytes, *, keep_alive: bool, fields: bytes
    ) -> bytes:
        """The whole response 204 with `fields`, each ended by CRLF; arguments as of `refusal`."""
        ending = self._ending(head, request_id, keep_alive=keep_alive)
        return b"".join((status_line(204), fields, b"\r\n".join((*ending, b"", b""))))

    def _compose(
        self,
        status: int,
        body: bytes,
        kind: bytes,
        extra: list[bytes],
        head: RequestHead,
        request_id: bytes,
        keep_alive: bool,  # noqa: FBT001 - internal
    ) -> bytes:
        lines = [
            status_line(status).removesuffix(b"\r\n"),
            b"Content-Type: " + kind,
            b"Content-Length: %d" % len(body),
            # A decision is about one moment and one principal.
            b"Cache-Control: no-store",
            *extra,
            *self._ending(head, request_id, keep_alive=keep_alive),
        ]
        return b"\r\n".join((*lines, b"", b"" if head.method == "HEAD" else body))

    def _ending(self, head: RequestHead, request_id: bytes, *, keep_alive: bool) -> list[bytes]:
        lines = [self._request_id + b": " + request_id]
        if not keep_alive:
            lines.append(b"Connection: close")
        elif head.minor == 0:
            lines.append(b"Connection: keep-alive")
        return lines

    def _challenge(self, denial: Denial) -> str:
        """RFC 6750 section 3.1: no error code where no credential was presented."""
        if denial.reason is Reason.NO_CREDENTIAL:
            return self._realm
        return f'{self._realm}, error="invalid_token", error_description="{denial.reason}"'

    def _sign_in_location(self, head: RequestHead) -> bytes:
        target = quote(head.target.decode("ascii"), safe="")
        return (self._sign_in or "").replace("{target}", target).encode()

    def _problem(self, status: int, reason: str, request_id: bytes) -> bytes:
        """A problem document (RFC 9457)."""
        problem = {
            "type": "about:blank",
            "title": _title(status),
            "status": status,
            "reason": reason,
            "request_id": request_id.decode("ascii"),
        }
        if self._help:
            problem["detail"] = self._help
        return msgspec.json.encode(problem)

    def _page(self, status: int, reason: str, request_id: bytes) -> bytes:
        return _PAGE.format(
            status=status,
            title=html.escape(_title(status)),
            advice=_ADVICE.get(status, "The request could not be completed."),
            help=f"<p>{html.escape(self._help)}</p>" if self._help else "",
            reason=html.escape(reason),
            request_id=html.escape(request_id.decode("ascii")),
        ).encode()


def _title(status: int) -> str:
    return HTTPStatus(status).phrase


def _shown(denial: Denial) -> str:
    """The reason code for the client; a concealed route is no different from an unknown one."""
    if denial.route is not None and denial.route.conceal and denial.status == 404:
        return Reason.UNKNOWN_ROUTE.value
    return denial.reason.value


def _wants_page(head: RequestHead) -> bool:
    """Whether a person's browser is navigating (Fetch Metadata, or Accept asks for HTML)."""
    mode = head.value(b"sec-fetch-mode")
    if mode is not None:
        return mode == b"navigate"
    accept = head.value(b"accept") or b""
    return accept.startswith(b"text/html")

"""Reads calls of the admin API: who may call, what is asked; everything else is a refusal."""

import asyncio
import hmac
import re
from hashlib import sha256
from typing import Any, Final, NoReturn

import msgspec
from aiohttp import web
from multidict import MultiMapping

# A call's body is a few short names.
LARGEST_BYTES: Final = 65_536
# It comes from this machine in one piece.
_BODY_SECONDS: Final = 5.0
# Of a struct's error: "... - at `$.status`", "... required field `action`", "... field `akc`".
_FIELD: Final = re.compile(r"(?:`\$\.(\w+)|field `([^`]+))`")


class Refusal(Exception):  # noqa: N818  it is an answer, not a fault
    """The call is answered with an error.

    Attributes:
        status: of the answer.
        code: stable, for programs.
        message: for people.
        field: of the body or query that is wrong; empty where none is.
    """

    def __init__(self, status: int, code: str, message: str, field: str = "") -> None:
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        super().__init__(message)


class Guard:
    """Lets those in who hold the token, and no browser.

    Args:
        token: the secret; only its digest is kept.
    """

    def __init__(self, token: str) -> None:
        self._digest = sha256(token.encode()).digest()

    def check(self, request: web.Request) -> None:
        """Return if the call may go on.

        Raises:
            Refusal: 403 for browsers, 401 for whoever lacks the token.
        """
        # A page cannot leave these out (Fetch, forbidden request-headers): neither a foreign one
        # (CSRF) nor one whose name was pointed at this address (DNS rebinding).
        if "Origin" in request.headers or "Sec-Fetch-Mode" in request.headers:
            raise Refusal(403, "browser", "this API is not for browsers")
        given = request.headers.getall("Authorization", [])
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        presented = sha256(token.encode("utf-8", "surrogateescape")).digest()
        # In constant time, and of digests: not even the length shows.
        if not hmac.compare_digest(presented, self._digest) or scheme.lower() != "bearer":
            raise Refusal(
                401, "unauthenticated", "give the secret of admin.token: Authorization: Bearer ..."
            )


async def read_body(request: web.Request, shape: type[Any] | None) -> Any:
    """The body as `shape`; None where none is taken.

    Raises:
        Refusal: it is none, encoded, too large, too slow, or of another shape.
    """
    if "Content-Encoding" in request.headers:
        # aiohttp would unpack it: what does not unpack is an error of ours, and a bomb is work.
        raise Refusal(415, "encoded", "send the body as it is, without Content-Encoding")
    if shape is None:
        if request.can_read_body:
            raise Refusal(400, "malformed", "this call takes no body")
        return None
    if request.content_type != "application/json":
        # Also what makes a browser ask first, and there is no CORS that would answer it.
        raise Refusal(415, "not-json", "the body must be JSON: Content-Type: application/json")
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            octets = await request.read()
    except TimeoutError:
        raise Refusal(408, "too-slow", "the body did not come in time") from None
    except web.HTTPRequestEntityTooLarge:
        raise Refusal(413, "too-large", f"a body has at most {LARGEST_BYTES} bytes") from None
    try:
        return msgspec.json.decode(octets, type=shape)
    except msgspec.ValidationError as error:
        refuse_value(error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refusal(400, "malformed", "the body is no JSON object") from None


def read_query(query: MultiMapping[str], shape: type[Any]) -> Any:
    """The query as `shape`.

    Raises:
        Refusal: a name is unknown or comes twice, or a value is wrong.
    """
    for name in query:
        if len(query.getall(name)) > 1:
            raise Refusal(422, "invalid", f"`{name}` is given twice", name)
    try:
        return msgspec.convert(dict(query), shape, strict=False)
    except msgspec.ValidationError as error:
        refuse_value(error)


def refuse_value(error: msgspec.ValidationError) -> NoReturn:
    """Raise what `error` says of a body or query, with the field it speaks of."""
    found = _FIELD.search(str(error))
    field = "" if found is None else found[1] or found[2]
    raise Refusal(422, "invalid", str(error).replace("`$.", "`"), field) from None

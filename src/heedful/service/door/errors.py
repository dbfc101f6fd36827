"""Every error as OpenAI's clients expect it: `{"error": {message, type, param, code}}`, on every route."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response

from heedful.errors import Busy, Declined, HeedfulError, InvalidInput, NotFound, NotKnown, Unavailable
from heedful.service.door.body import MANY, invalid
from heedful.wire import ErrorOut

log = logging.getLogger("heedful.service")

AWAY_SECONDS = 1.0  # until something that does not answer is asked again

TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


def describe(error: HeedfulError) -> ErrorOut:
    """The error as the wire says it."""
    known = TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    code = error.code if isinstance(error, Declined) and error.code else code_of(type(error))
    return ErrorOut(message=_plain(str(error)), type=known, param=error.field, code=code)


def code_of(kind: type[HeedfulError]) -> str:
    """`NotFound` -> "not_found"."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def answer(error: HeedfulError) -> Response:
    headers = {}
    if isinstance(error, Busy | Unavailable):
        headers["retry-after"] = str(max(1, math.ceil(getattr(error, "retry_after", AWAY_SECONDS))))
    if isinstance(error, NotKnown):
        headers["www-authenticate"] = "Bearer"
    if error.status >= 500 and not isinstance(error, Busy):
        log.error("request failed", extra={"reason": str(error), "kind": type(error).__name__})
    return Response(
        orjson.dumps({"error": describe(error).model_dump()}),
        status_code=error.status,
        headers=headers,
        media_type="application/json",
    )


def unforeseen() -> Response:
    """For what is our own fault: the details are in the log, under the request's id."""
    said = ErrorOut(
        message="this failed for a reason that is ours: the log has it under this request's x-request-id",
        type="server_error",
        code="internal",
    )
    return Response(
        orjson.dumps({"error": said.model_dump()}), status_code=500, media_type="application/json"
    )


def install(app: FastAPI) -> None:
    """From now on the app says everything in this one shape."""
    app.add_exception_handler(HeedfulError, _ours)
    app.add_exception_handler(RequestValidationError, _pydantics)
    app.add_exception_handler(HTTPException, _starlettes)
    app.add_exception_handler(Exception, _unforeseen)


async def _unforeseen(request: Request, error: Exception) -> Response:
    return unforeseen()


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, HeedfulError)
    return answer(error)


async def _pydantics(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()[:MANY]
    beside = [one for one in errors if one["loc"][0] != "body"]  # in the query or the address
    given = {one["loc"][1]: one["input"] for one in beside} if beside else error.body
    shown = [{**one, "loc": one["loc"][1:]} for one in beside or errors]
    return answer(invalid(shown, given))  # type: ignore[arg-type]


async def _starlettes(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kinds: Mapping[int, type[HeedfulError]] = {404: NotFound}
    where = f"{request.method} {request.url.path[:200]}"
    if error.status_code == 404:
        ours: HeedfulError = NotFound(f"there is no {where}: /openapi.json has what there is")
    elif error.status_code == 405:
        allowed = Headers(error.headers or {}).get("allow", "")
        ours = InvalidInput(f"{where} does not exist: the address takes {allowed or 'others'}")
        ours.status = 405
        said = answer(ours)
        said.headers["allow"] = allowed
        return said
    else:
        ours = kinds.get(error.status_code, InvalidInput)(str(error.detail))
        ours.status = error.status_code
    return answer(ours)


def _plain(text: str) -> str:
    """What can be said in UTF-8: a message may repeat what a sender wrote."""
    return text.encode("utf-8", "replace").decode()

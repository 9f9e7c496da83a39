"""How the gateway says what went wrong, in the shapes that OpenAI's clients read.

The message names field, value and cure. What the last tier says of the request itself (too long,
too many) is handed on with its status; else its failure is 502 or 503, and the client's own retry
asks again.
"""

import json
import logging
import math
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from knowgate._shipping.client import JSON_MEDIA_TYPE
from knowgate.errors import Failure, KnowgateError, NoAnswer, RecordInvalid
from services.gateway.presence import CallerLeft
from services.gateway.repeats import OtherRequest
from services.gateway.traffic import COME_BACK_S, NoRoom
from services.http.errors import ApiError, client_left, no_such

THE_REQUESTS = (400, 409, 413, 415, 422, 429)  # statuses of the last tier that speak of the request, not of the tier

log = logging.getLogger("knowgate.gateway")


def add_error_answers(app: Starlette) -> None:
    """What becomes of every error that a request ends with."""
    app.add_exception_handler(ApiError, _refused)
    app.add_exception_handler(OtherRequest, _other_request)
    app.add_exception_handler(NoRoom, _no_room)
    app.add_exception_handler(RecordInvalid, _invalid)
    app.add_exception_handler(NoAnswer, _no_answer)
    app.add_exception_handler(CallerLeft, client_left)
    app.add_exception_handler(HTTPException, _no_such_address)
    app.add_exception_handler(ClientDisconnect, client_left)
    app.add_exception_handler(Exception, _failed)


def json_answer(document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A document in ASCII, so that half a surrogate pair in a tier's answer, or in what an error
    shows, is no fault.
    """
    content = json.dumps(document, allow_nan=False)
    return Response(content, status_code=status, headers=headers, media_type=JSON_MEDIA_TYPE)


def error_answer(
    status: int,
    message: str,
    kind: str,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
    code: str | None = None,
) -> Response:
    """An error in the protocol's shape."""
    return json_answer({"error": error_of(message, kind, param, code)}, status=status, headers=headers)


def error_of(message: str, kind: str, param: str | None = None, code: str | None = None) -> dict[str, str | None]:
    """What stands under `error`."""
    return {"message": message, "type": kind, "param": param, "code": code}


async def _refused(_: Request, error: Any) -> Response:
    return error_answer(error.status, str(error), "invalid_request_error", error.field, error.headers)


async def _other_request(_: Request, error: Any) -> Response:
    return error_answer(422, f"{error}; send another key with another request", "invalid_request_error")


async def _no_room(_: Request, error: Any) -> Response:
    return error_answer(429, str(error), "rate_limit_error", headers={"Retry-After": str(COME_BACK_S)})


async def _invalid(_: Request, error: Any) -> Response:
    if error.field == "backends":  # the cascade in force has other tiers than this process was started with
        return error_answer(503, f"{error}; start the gateway anew", "server_error")
    return error_answer(400, str(error), "invalid_request_error", error.field)


async def _no_such_address(request: Request, error: Any) -> Response:
    post = "/v1/chat/completions, /v1/responses, /v1/completions and /v1/embeddings"
    known = f"there are POST {post}, GET /v1/models, GET /v1/models/{{id}}, GET /healthz and GET /metrics"
    cures = {404: f"no such address here; {known}", 405: f"no such method at this address; {known}"}
    return await _refused(request, no_such(request, error, cures))


async def _no_answer(_: Request, error: Any) -> Response:
    status, words, headers = explained(error)
    return json_answer({"error": words}, status=status, headers=headers)


def explained(error: KnowgateError) -> tuple[int, dict[str, str | None], dict[str, str]]:
    """The status, the words and the headers that tell a caller why there is no answer."""
    log.error("%s", error)
    failed = error.failed if isinstance(error, NoAnswer) else None
    if failed is None:
        return 502, error_of(str(error), "server_error"), {}
    again = {} if failed.retry_after_s is None else {"Retry-After": str(math.ceil(failed.retry_after_s))}
    said = failed.said
    if said is not None and said.status in THE_REQUESTS:
        kind = said.type or ("rate_limit_error" if said.status == 429 else "invalid_request_error")
        return said.status, error_of(said.message, kind, said.param, said.code), again
    status = 503 if failed.failure is Failure.OVERLOADED else 502
    return status, error_of(str(error), "server_error"), again


async def _failed(request: Request, error: Any) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return error_answer(500, "this is a fault of the gateway; its log says more", "server_error")

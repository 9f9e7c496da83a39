"""The one shape of an error over HTTP, and which status an exception becomes.

    {"error": {"field": …, "value": …, "cure": …, "message": …}}

A caller's mistake names the field, the value and the cure. A failure of ours says so without its
inside, which goes to the log. 503 stands for "try again": the database or the place of the shards
did not answer, and nothing was acknowledged.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from knowgate.errors import RecordInvalid
from services.errors import InputInvalid, Refused
from services.http.digested import DigestedJSON
from store.errors import (
    AlertUnknown,
    BundleDamaged,
    BundleUnknown,
    CascadeUnknown,
    DecisionUnknown,
    DeliveryUnknown,
    RecordUnreadable,
    ShardRefused,
    StoreError,
    TokenUnknown,
)

log = logging.getLogger("knowgate.api")

LEFT = 499  # for the count of requests: the client has gone, and no answer reaches it
SHOWN = 200  # characters of a value that an error repeats


class ApiError(Exception):
    """An answer other than 2xx, with what its body says."""

    def __init__(
        self, status: int, *, field: str, value: object, cure: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.field = field
        self.value = show(value)
        self.cure = cure
        self.headers = dict(headers or {})
        super().__init__(f"{field} is {self.value}: {cure}")


def show(value: object) -> str:
    """A value as an error repeats it: JSON where it is, else its text; never long."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def answer(error: ApiError) -> JSONResponse:
    """The error as a response."""
    body = {"field": error.field, "value": error.value, "cure": error.cure, "message": str(error)}
    return DigestedJSON({"error": body}, status_code=error.status, headers=error.headers)


def install_error_handlers(app: FastAPI) -> None:
    """Gives every exception the one shape."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RecordInvalid, _record_invalid)
    app.add_exception_handler(StoreError, _store_error)
    app.add_exception_handler(InputInvalid, _input_invalid)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(ShardRefused, _shards_away)
    app.add_exception_handler(OperationalError, _database_away)
    app.add_exception_handler(PoolTimeout, _database_away)
    app.add_exception_handler(RequestValidationError, _request_invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, client_left)
    app.add_exception_handler(Exception, _failure)


async def _api_error(_: Request, error: Any) -> JSONResponse:
    return answer(error)


async def _record_invalid(_: Request, error: Any) -> JSONResponse:
    return answer(ApiError(422, field=error.field, value=error.value, cure=error.cure))


async def _store_error(request: Request, error: Any) -> JSONResponse:
    if isinstance(error, CascadeUnknown):
        return answer(ApiError(404, field="cascade", value=error.name, cure=error.cure))
    if isinstance(error, DecisionUnknown):
        return answer(ApiError(404, field="decision", value=str(error.decision_id), cure=error.cure))
    if isinstance(error, AlertUnknown):
        return answer(ApiError(404, field="alert", value=str(error.alert_id), cure=error.cure))
    if isinstance(error, DeliveryUnknown):
        return answer(ApiError(404, field="delivery", value=str(error.delivery_id), cure=error.cure))
    if isinstance(error, TokenUnknown):
        return answer(ApiError(404, field="token", value=error.name, cure=error.cure))
    if isinstance(error, BundleUnknown):
        return answer(ApiError(404, field="bundle", value=error.bundle_id, cure=error.cure))
    if isinstance(error, BundleDamaged):
        log.error("%s %s: %s", request.method, request.url.path, error)
        return answer(ApiError(503, field="bundle", value=error.bundle_id, cure=f"{error.found}: {error.cure}"))
    if isinstance(error, RecordUnreadable):
        log.error("%s %s: %s", request.method, request.url.path, error)
        return answer(ApiError(503, field=error.field, value=error.value, cure=error.cure))
    return answer(ApiError(409, field="request", value=request.url.path, cure=str(error)))


async def _input_invalid(request: Request, error: Any) -> JSONResponse:
    return answer(ApiError(422, field="request", value=request.url.path, cure=str(error)))


async def _refused(request: Request, error: Any) -> JSONResponse:
    return answer(ApiError(409, field="request", value=request.url.path, cure=str(error)))


async def _database_away(request: Request, error: Any) -> JSONResponse:
    cause = error.orig if isinstance(error, DBAPIError) else error
    log.error("the database did not answer %s: %s", request.url.path, cause)
    request.app.state.context.metrics.count_database_error()
    return _later("database", "not answering")


async def _shards_away(request: Request, error: Any) -> JSONResponse:
    log.error("shards could not be written or read for %s: %s", request.url.path, error)
    return _later("shards", "not written")


def _later(field: str, value: str) -> JSONResponse:
    cure = "nothing was stored; send the request again in a few seconds"
    return answer(ApiError(503, field=field, value=value, cure=cure, headers={"Retry-After": "5"}))


async def _request_invalid(_: Request, error: Any) -> JSONResponse:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or "request"
    return answer(ApiError(422, field=field, value=first.get("input"), cure=first["msg"]))


def no_such(request: Request, error: HTTPException, cures: Mapping[int, str]) -> ApiError:
    """The refusal of an address or a method that is not there, with the cure for its status."""
    cure = cures.get(error.status_code, str(error.detail))
    field, value = ("method", request.method) if error.status_code == 405 else ("path", request.url.path)
    return ApiError(error.status_code, field=field, value=value, cure=cure, headers=error.headers)


async def _http_error(request: Request, error: Any) -> JSONResponse:
    cures = {404: "no such address; /docs lists those there are", 405: "no such method here; /docs lists them"}
    return answer(no_such(request, error, cures))


async def client_left(request: Request, _: Any) -> Response:
    """Nobody's fault: a client that hangs up while it sends, or while it is being answered."""
    log.debug("%s %s: the client hung up", request.method, request.url.path)
    return Response(status_code=LEFT)


async def _failure(request: Request, error: Any) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    cure = "this is a fault of the service; its log says more"
    return answer(ApiError(500, field="request", value=request.url.path, cure=cure))

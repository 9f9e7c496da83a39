"""The server: `POST /v1/chat/completions` from a live cascade, in the shapes that OpenAI's clients read.

Errors have OpenAI's shape, and name field, value and cure within it. Where no tier may answer the status is 502 and
nothing is recorded; the client's own retry asks again. The decision is in the spool before the answer is sent.
"""

import hmac
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from knowgate.backends.protocol import Backend
from knowgate.cascade import Cascade
from knowgate.errors import NoAnswer, RecordInvalid
from knowgate.shipper import Shipper
from services.api.bodies import parse_json, read_limited
from services.api.errors import ApiError
from services.api.rows import require_storable
from services.gateway.chat import completion, completion_chunks, headers_of, read_chat_request
from services.settings import is_loopback

log = logging.getLogger("knowgate.gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A live cascade and what it answers with."""

    cascade: Cascade
    tiers: tuple[str, ...]  # names, cheapest first
    backends: Sequence[Backend]
    shipper: Shipper
    max_body_bytes: int
    key: str | None = field(repr=False)  # what callers show; None = nobody is asked, on loopback alone


def create_gateway(serving: Serving) -> FastAPI:
    """The application over a live cascade; it closes the back-ends' connections of its event loop at its end."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for backend in serving.backends:
            close = getattr(backend, "close_async", None)
            if close is not None:
                await close()

    app = FastAPI(title="knowgate gateway", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.serving = serving
    app.add_exception_handler(ApiError, _refused)
    app.add_exception_handler(RecordInvalid, _invalid)
    app.add_exception_handler(NoAnswer, _no_answer)
    app.add_exception_handler(Exception, _failed)
    app.post("/v1/chat/completions")(post_chat)
    app.get("/v1/models")(get_models)
    app.get("/healthz")(get_health)
    return app


async def post_chat(request: Request) -> Response:
    """Answers one conversation; whole, or as events where `stream` is true."""
    serving: Serving = request.app.state.serving
    _require_caller(request, serving.key)
    document = parse_json(await read_limited(request, serving.max_body_bytes))
    asked = read_chat_request(document, serving.cascade.name)
    require_storable({"external_id": asked.external_id, "slice": asked.slice})
    answer = await serving.cascade.answer_async(asked.messages, slice=asked.slice, external_id=asked.external_id)
    told: dict[str, Any] = {
        "cascade": serving.cascade.name,
        "tiers": serving.tiers,
        "model": serving.backends[answer.tier].model,
    }
    headers = headers_of(answer)
    if asked.stream:
        events = completion_chunks(answer, **told, with_usage=asked.usage_in_stream)
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)
    return JSONResponse(completion(answer, **told), headers=headers)


async def get_models(request: Request) -> Response:
    """The one model there is: the cascade."""
    serving: Serving = request.app.state.serving
    _require_caller(request, serving.key)
    model = {"id": serving.cascade.name, "object": "model", "created": 0, "owned_by": "knowgate"}
    return JSONResponse({"object": "list", "data": [model]})


async def get_health(request: Request) -> Response:
    """What is in force, and whether decisions are shipped."""
    serving: Serving = request.app.state.serving
    pair, shipper = serving.cascade.pair, serving.shipper
    return JSONResponse(
        {
            "generation": None if pair is None else pair.assignment.generation,
            "shipped": shipper.shipped,
            "rejected": shipper.rejected,
            "not_spooled": shipper.spool.refused,
            "shipping_waits": shipper.last_error,
        }
    )


def _require_caller(request: Request, key: str | None) -> None:
    """Raises 401 without the key; 403 where none is set and the request names another host than this machine."""
    if key is None:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        if not is_loopback(host):
            cure = "name a loopback host, or set KNOWGATE_GATEWAY_KEY"
            raise ApiError(403, field="host", value=host, cure=cure)
        return
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(shown.strip().encode(), key.encode()):
        raise ApiError(401, field="authorization", value="(not shown)", cure="send the gateway's key as the API key")


def _error(status: int, message: str, kind: str, param: str | None = None) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": None}}, status_code=status)


async def _refused(_: Request, error: Any) -> JSONResponse:
    return _error(error.status, str(error), "invalid_request_error", error.field)


async def _invalid(_: Request, error: Any) -> JSONResponse:
    if error.field == "backends":  # the cascade in force has other tiers than this process was started with
        return _error(503, f"{error}; start the gateway anew", "server_error")
    return _error(400, str(error), "invalid_request_error", error.field)


async def _no_answer(_: Request, error: Any) -> JSONResponse:
    log.error("%s", error)
    return _error(502, str(error), "server_error")


async def _failed(request: Request, error: Any) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _error(500, "this is a fault of the gateway; its log says more", "server_error")

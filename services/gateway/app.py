"""The server: `POST /v1/chat/completions` from a live cascade, in the shapes that OpenAI's clients
read. What no certificate covers is passed to the last tier as it is (`services.gateway.passing`).

Errors have OpenAI's shape, and name field, value and cure within it. Where no tier may answer
nothing is recorded. What the last tier says of the request itself (too long, too many) is handed on
with its status; else it is 502 or 503, and the client's own retry asks again. When a client leaves,
the work for it ends. The decision is in the spool before the answer is sent, but for an explored
one, which is spooled when its exploration is done, and for one that a full spool does not take.
"""

import hmac
import json
import logging
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from knowgate._serving.cascade import Cascade
from knowgate._serving.replies import prompt_of
from knowgate._serving.serving import Answer
from knowgate._shipping.client import JSON_MEDIA_TYPE
from knowgate._shipping.shipper import Shipper
from knowgate.backends.protocol import Backend
from knowgate.errors import Failure, NoAnswer, RecordInvalid
from knowgate.spec import CascadeSpec
from services.gateway.abandoned import abandoned_of
from services.gateway.asked import AskedChat, read_asked, read_chat, require_model
from services.gateway.body import parsed_body
from services.gateway.chat import completion, completion_chunks, headers_of
from services.gateway.passing import NotServed, pass_answer, pass_chat, pass_on
from services.gateway.presence import CallerLeft, while_present
from services.http.auth import bearer_of, require_loopback_host
from services.http.bodies import read_limited
from services.http.errors import ApiError, client_left, no_such

EMBEDDINGS = "/embeddings"
THE_REQUESTS = (400, 413, 422, 429)  # statuses of the last tier that speak of the request, not of the tier
EXPLORATIONS_END_WITHIN_S = 5.0  # supervisors kill after 10 to 30 s; an exploration less is a label less, no answer

log = logging.getLogger("knowgate.gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A live cascade and what it answers with."""

    cascade: Cascade
    spec: CascadeSpec  # as it was declared when the gateway started
    backends: Sequence[Backend]
    shipper: Shipper
    max_body_bytes: int
    key: str | None = field(repr=False)  # what callers show; None = nobody is asked, on loopback alone


def create_gateway(serving: Serving) -> FastAPI:
    """The application over a live cascade, which it closes at its end.

    Explorations ask the same back-ends, so they end first, and those are closed then.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await serving.cascade.close_async(within_s=EXPLORATIONS_END_WITHIN_S)
        for backend in serving.backends:
            close = getattr(backend, "close_async", None)
            if close is not None:
                await close()

    app = FastAPI(title="knowgate gateway", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.serving = serving
    app.add_exception_handler(ApiError, _refused)
    app.add_exception_handler(RecordInvalid, _invalid)
    app.add_exception_handler(NoAnswer, _no_answer)
    app.add_exception_handler(CallerLeft, client_left)
    app.add_exception_handler(HTTPException, _no_such_address)
    app.add_exception_handler(ClientDisconnect, client_left)
    app.add_exception_handler(Exception, _failed)
    app.post("/v1/chat/completions")(post_chat)
    for path in ("/completions", "/responses", EMBEDDINGS):
        app.post(f"/v1{path}")(post_beside)
    app.get("/v1/models")(get_models)
    app.get("/v1/models/{model:path}")(get_model)
    app.get("/healthz")(get_health)
    return app


async def post_chat(request: Request) -> Response:
    """Answers one conversation; whole, or as events where `stream` is true."""
    serving: Serving = request.app.state.serving
    _require_caller(request, serving.key)
    document = await parsed_body(await read_limited(request, serving.max_body_bytes))
    asked = read_chat(document, request.headers, serving.spec)
    if asked.coverage.uncovered:
        return await pass_chat(request, serving.cascade, asked)
    answer = await while_present(request, _answer(serving.cascade, asked))
    fields: dict[str, Any] = {
        "cascade": serving.cascade.name,
        "tiers": tuple(tier.name for tier in serving.spec.tiers),
        "model": serving.backends[answer.tier].model,
    }
    headers = headers_of(answer)
    if asked.stream:
        events = completion_chunks(answer, **fields, with_usage=asked.usage_in_stream)
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)
    return _json(completion(answer, **fields), headers=headers)


async def _answer(cascade: Cascade, asked: AskedChat) -> Answer:
    assert cascade.serving is not None
    prompt = prompt_of(asked.messages) if cascade.setting.stores_texts else None
    query = cascade.open(prompt=prompt, external_id=asked.external_id, slice=asked.slice)
    return await cascade.serving.answer_async(query, asked.messages, asked.coverage.parameters)


async def post_beside(request: Request) -> Response:
    """Passes a request at an address that a cascade does not answer to the last tier, and 404 where
    that has none.
    """
    serving: Serving = request.app.state.serving
    _require_caller(request, serving.key)
    document = await parsed_body(await read_limited(request, serving.max_body_bytes))
    asked = read_asked(document, request.headers)
    path = request.url.path.removeprefix("/v1")
    try:
        if path == EMBEDDINGS:  # another model's work: whatever its name, no decision
            return await pass_on(request, serving.cascade, asked, path)
        require_model(document.get("model"), serving.cascade.name)
        return await pass_answer(request, serving.cascade, asked, path)
    except NotServed:
        return _error(404, f"Invalid URL (POST {request.url.path})", "invalid_request_error")


async def get_models(request: Request) -> Response:
    """The one model there is: the cascade."""
    serving: Serving = request.app.state.serving
    _require_caller(request, serving.key)
    return _json({"object": "list", "data": [_model(serving)]})


async def get_model(request: Request, model: str) -> Response:
    """The cascade by its name. Raises 404 for any other."""
    serving: Serving = request.app.state.serving
    _require_caller(request, serving.key)
    require_model(model, serving.cascade.name)
    return _json(_model(serving))


async def get_health(request: Request) -> Response:
    """What is in force, and whether decisions are shipped."""
    serving: Serving = request.app.state.serving
    pair, shipper = serving.cascade.pair, serving.shipper
    return _json(
        {
            "generation": None if pair is None else pair.assignment.generation,
            "shipped": shipper.shipped,
            "rejected": shipper.rejected,
            "not_spooled": shipper.spool.refused,
            "undeclared": shipper.undeclared,
            "shipping_waits": shipper.last_error,
            "abandoned": abandoned_of(serving.cascade, serving.spec),
        }
    )


def _require_caller(request: Request, key: str | None) -> None:
    """Raises 401 without the key; 403 where none is set and the request names another host than
    this machine.
    """
    if key is None:
        require_loopback_host(request, "name a loopback host, or set KNOWGATE_GATEWAY_KEY")
    elif not hmac.compare_digest((bearer_of(request) or "").encode(), key.encode()):
        raise ApiError(401, field="authorization", value="(not shown)", cure="send the gateway's key as the API key")


def _model(serving: Serving) -> dict[str, Any]:
    return {"id": serving.cascade.name, "object": "model", "created": 0, "owned_by": "knowgate"}


def _json(document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A document in ASCII, so that half a surrogate pair in a tier's answer, or in what an error
    shows, is no fault.
    """
    content = json.dumps(document, allow_nan=False)
    return Response(content, status_code=status, headers=headers, media_type=JSON_MEDIA_TYPE)


def _error(
    status: int,
    message: str,
    kind: str,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
    code: str | None = None,
) -> Response:
    error = {"message": message, "type": kind, "param": param, "code": code}
    return _json({"error": error}, status=status, headers=headers)


async def _refused(_: Request, error: Any) -> Response:
    return _error(error.status, str(error), "invalid_request_error", error.field, error.headers)


async def _invalid(_: Request, error: Any) -> Response:
    if error.field == "backends":  # the cascade in force has other tiers than this process was started with
        return _error(503, f"{error}; start the gateway anew", "server_error")
    return _error(400, str(error), "invalid_request_error", error.field)


async def _no_such_address(request: Request, error: Any) -> Response:
    post = "/v1/chat/completions, /v1/responses, /v1/completions and /v1/embeddings"
    known = f"there are POST {post}, GET /v1/models, GET /v1/models/{{id}} and GET /healthz"
    cures = {404: f"no such address here; {known}", 405: f"no such method at this address; {known}"}
    return await _refused(request, no_such(request, error, cures))


async def _no_answer(_: Request, error: Any) -> Response:
    log.error("%s", error)
    failed = error.failed
    if failed is None:
        return _error(502, str(error), "server_error")
    again = {} if failed.retry_after_s is None else {"Retry-After": str(math.ceil(failed.retry_after_s))}
    said = failed.said
    if said is not None and said.status in THE_REQUESTS:
        kind = said.type or ("rate_limit_error" if said.status == 429 else "invalid_request_error")
        return _error(said.status, said.message, kind, said.param, again, said.code)
    return _error(503 if failed.failure is Failure.OVERLOADED else 502, str(error), "server_error", headers=again)


async def _failed(request: Request, error: Any) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _error(500, "this is a fault of the gateway; its log says more", "server_error")

"""The server: `POST /v1/chat/completions` from a live cascade, in the shapes that OpenAI's clients
read. What no certificate covers is passed to the last tier as it is (`services.gateway.passing`).

Where the last tier fails nothing is recorded. When a client leaves, the work for it ends; one that
sends the same again under one name is given the same answer. The decision is in the spool before
the answer is sent, but for an explored one, which is spooled when its exploration is done, and for
one that a full spool does not take.
"""

import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from knowgate._records.records import Attempt, Reason
from knowgate._serving.cascade import Cascade
from knowgate._shipping.shipper import Shipper
from knowgate.backends.protocol import Backend
from knowgate.spec import CascadeSpec
from services.gateway.abandoned import abandoned_of
from services.gateway.answering import Given, answer_chat
from services.gateway.answers import add_error_answers, error_answer, json_answer
from services.gateway.asked import key_of, read_asked, read_chat, require_model
from services.gateway.body import parsed_body
from services.gateway.chat import Names, completion, completion_chunks, headers_of
from services.gateway.events import EVENT_STREAM
from services.gateway.metrics import GatewayMetrics
from services.gateway.passing import NotServed, Passed, Route, pass_on, pass_stream, pass_whole, route_of, route_of_chat
from services.gateway.presence import while_present
from services.gateway.repeats import Key, Repeats
from services.gateway.streaming import HEAD_WITHIN_S, stream_chat
from services.gateway.traced import Traced, note_answer
from services.gateway.traffic import Timed, Traffic
from services.http.auth import bearer_of, require_loopback_host
from services.http.bodies import read_limited
from services.http.errors import ApiError

EMBEDDINGS = "/embeddings"
MOST_IN_FLIGHT = 512
EXPLORATIONS_END_WITHIN_S = 5.0  # supervisors kill after 10 to 30 s; an exploration less is a label less, no answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A live cascade and what it answers with."""

    cascade: Cascade
    spec: CascadeSpec  # as it was declared when the gateway started
    backends: Sequence[Backend]
    shipper: Shipper
    max_body_bytes: int
    key: str | None = field(repr=False)  # what callers show; None = nobody is asked, on loopback alone
    most_in_flight: int = MOST_IN_FLIGHT
    head_within_s: float = HEAD_WITHIN_S  # of a stream


@dataclass(frozen=True, slots=True, kw_only=True)
class _AtWork:
    serving: Serving
    repeats: Repeats[Given | Passed]
    metrics: GatewayMetrics
    traffic: Traffic
    names: Names


def create_gateway(serving: Serving) -> Starlette:
    """The application over a live cascade, which it closes at its end.

    Explorations ask the same back-ends, so they end first, and those are closed then.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await serving.cascade.close_async(within_s=EXPLORATIONS_END_WITHIN_S)
        for backend in serving.backends:
            close = getattr(backend, "close_async", None)
            if close is not None:
                await close()

    app = Starlette(lifespan=lifespan)
    traffic = Traffic(most=serving.most_in_flight)
    metrics = GatewayMetrics([tier.name for tier in serving.spec.tiers], serving.cascade, serving.shipper, traffic)
    names = Names(
        cascade=serving.cascade.name,
        tiers=tuple(tier.name for tier in serving.spec.tiers),
        models=tuple(backend.model for backend in serving.backends),
    )
    app.state.at_work = _AtWork(serving=serving, repeats=Repeats(), metrics=metrics, traffic=traffic, names=names)
    app.add_middleware(Timed, traffic=traffic, observed=metrics.observe)
    app.add_middleware(Traced, cascade=serving.cascade.name)
    add_error_answers(app)
    app.add_route("/v1/chat/completions", post_chat, methods=["POST"])
    for path in ("/completions", "/responses", EMBEDDINGS):
        app.add_route(f"/v1{path}", post_beside, methods=["POST"])
    for path, answered in (("/v1/models", get_models), ("/v1/models/{model:path}", get_model)):
        app.add_route(path, answered, methods=["GET"])
    for path, answered in (("/healthz", get_health), ("/metrics", get_metrics)):
        app.add_route(path, answered, methods=["GET"])
    return app


async def post_chat(request: Request) -> Response:
    """Answers one conversation; whole, or as events where `stream` is true."""
    at_work, document = await _taken(request)
    serving = at_work.serving
    asked = read_chat(document, request.headers, serving.spec)
    if asked.coverage.uncovered:
        return await _pass(request, at_work, route_of_chat(serving.cascade, asked))
    key = key_of(request.url.path, asked, request.headers)
    if asked.stream and not (key is not None and at_work.repeats.knows(key)):
        given_then, within_s = partial(_streamed, at_work, key), serving.head_within_s
        return await stream_chat(request, serving.cascade, asked, at_work.names, given_then, patience_s=within_s)
    given, repeated = await _once(request, at_work, key, partial(answer_chat, serving.cascade, asked))
    assert isinstance(given, Given)
    headers = headers_of(given.answer) | given.headers | _repeated(repeated)
    _count(at_work, headers["Knowgate-Reason"], given.attempts, repeated=repeated)
    if asked.stream:
        events = completion_chunks(given.answer, at_work.names, with_usage=asked.usage_in_stream)
        return StreamingResponse(events, media_type=EVENT_STREAM, headers=headers)
    return json_answer(completion(given.answer, at_work.names), headers=headers)


def _streamed(at_work: _AtWork, key: Key | None, given: Given) -> None:
    """Counts an answer that was streamed, and remembers it where it has a name and a text."""
    _count(at_work, headers_of(given.answer)["Knowgate-Reason"], given.attempts)
    if key is not None and given.answer.text:
        at_work.repeats.remember(key, given)


async def post_beside(request: Request) -> Response:
    """Passes a request at an address that a cascade does not answer to the last tier, and 404 where
    that has none.
    """
    at_work, document = await _taken(request)
    cascade, asked = at_work.serving.cascade, read_asked(document, request.headers)
    path = request.url.path.removeprefix("/v1")
    try:
        if path == EMBEDDINGS:  # another model's work: whatever its name, no decision
            return await pass_on(request, cascade, asked, path)
        require_model(document.get("model"), cascade.name)
        return await _pass(request, at_work, route_of(cascade, asked, path))
    except NotServed:
        return error_answer(404, f"Invalid URL (POST {request.url.path})", "invalid_request_error")


async def _pass(request: Request, at_work: _AtWork, route: Route) -> Response:
    """The last tier's answer, as it is."""
    if route.asked.stream:
        return await pass_stream(request, route, partial(_count, at_work, Reason.UNCERTIFIED_REQUEST.value))
    key = key_of(request.url.path, route.asked, request.headers)
    passed, repeated = await _once(request, at_work, key, partial(pass_whole, route))
    assert isinstance(passed, Passed)
    headers = passed.headers | _repeated(repeated)
    _count(at_work, headers["Knowgate-Reason"], passed.attempts, repeated=repeated)
    return Response(passed.content, media_type=passed.media_type, headers=headers)


async def _once(request: Request, at_work: _AtWork, key: Key | None, work: Any) -> tuple[Given | Passed, bool]:
    """What `work` gives while the caller is there; what it gave already, where the same is asked
    again under one name.
    """
    if key is None:
        return await while_present(request, work()), False
    return await while_present(request, at_work.repeats.once(key, work))


def _repeated(repeated: bool) -> dict[str, str]:
    return {"Knowgate-Repeated": "true"} if repeated else {}


def _count(at_work: _AtWork, reason: str, attempts: Sequence[Attempt], *, repeated: bool = False) -> None:
    """Counts an answer, and how long its tiers took where it is no earlier one."""
    at_work.metrics.count_answer(reason, repeated=repeated)
    if not repeated:
        at_work.metrics.count_attempts(attempts)
    note_answer(reason, attempts)


async def get_models(request: Request) -> Response:
    """The one model there is: the cascade."""
    serving = _allowed(request).serving
    return json_answer({"object": "list", "data": [_model(serving)]})


async def get_model(request: Request) -> Response:
    """The cascade by its name. Raises 404 for any other."""
    serving = _allowed(request).serving
    require_model(request.path_params["model"], serving.cascade.name)
    return json_answer(_model(serving))


async def get_health(request: Request) -> Response:
    """What is in force, and whether decisions are shipped."""
    serving: Serving = request.app.state.at_work.serving
    pair, shipper = serving.cascade.pair, serving.shipper
    return json_answer(
        {
            "generation": None if pair is None else pair.assignment.generation,
            "bundle": None if pair is None else pair.assignment.champion,
            "shipped": shipper.shipped,
            "rejected": shipper.rejected,
            "not_spooled": shipper.spool.refused,
            "undeclared": shipper.undeclared,
            "shipping_waits": shipper.last_error,
            "abandoned": abandoned_of(serving.cascade, serving.spec),
        }
    )


async def get_metrics(request: Request) -> Response:
    """This process's figures, for Prometheus."""
    content, kind = _allowed(request).metrics.exposition()
    return Response(content, media_type=kind)


async def _taken(request: Request) -> tuple[_AtWork, Any]:
    """What is at work, and the request's body, of a caller who may ask, while there is room."""
    at_work = _allowed(request)
    at_work.traffic.enter(request)
    return at_work, await parsed_body(await read_limited(request, at_work.serving.max_body_bytes))


def _allowed(request: Request) -> _AtWork:
    """What is at work, for a caller who may ask. Raises 401 without the key; 403 where none is set
    and the request names another host than this machine.
    """
    at_work: _AtWork = request.app.state.at_work
    key = at_work.serving.key
    if key is None:
        require_loopback_host(request, "name a loopback host, or set KNOWGATE_GATEWAY_KEY")
    elif not hmac.compare_digest((bearer_of(request) or "").encode(), key.encode()):
        raise ApiError(401, field="authorization", value="(not shown)", cure="send the gateway's key as the API key")
    return at_work


def _model(serving: Serving) -> dict[str, Any]:
    return {"id": serving.cascade.name, "object": "model", "created": 0, "owned_by": "knowgate"}

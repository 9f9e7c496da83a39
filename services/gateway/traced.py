"""Traces through the gateway: the caller's goes on to the tiers, and where the environment asks for
spans there is one of each request and one of each call to a tier (`services.telemetry.spans`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from knowgate._deciding.traces import trace_of
from knowgate._records.records import Attempt
from knowgate._wire.tracing import CARRIED, WATCHED
from knowgate.backends.protocol import CHAT, Reply
from knowgate.errors import BackendFailed
from services.telemetry import gen_ai, spans
from services.telemetry.spans import TRACEPARENT, Kind


class Traced:
    """The middleware."""

    def __init__(self, app: ASGIApp, *, cascade: str) -> None:
        self._app = app
        self._cascade = cascade

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers as the application does."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if spans.is_on():
            await self._within_a_span(scope, receive, send, headers)
            return
        theirs = headers.get(TRACEPARENT)
        if trace_of(theirs) is None:
            await self._app(scope, receive, send)
            return
        token = CARRIED.set({TRACEPARENT: str(theirs)})
        try:
            await self._app(scope, receive, send)
        finally:
            CARRIED.reset(token)

    async def _within_a_span(self, scope: Scope, receive: Receive, send: Send, headers: Mapping[str, str]) -> None:
        known = {gen_ai.METHOD: "POST", gen_ai.CASCADE: self._cascade}
        if scope["path"].endswith(CHAT):
            known |= {gen_ai.OPERATION: gen_ai.CHAT, gen_ai.REQUEST_MODEL: self._cascade}
        with spans.span("POST", Kind.SERVER, known, headers=headers) as span:
            assert span is not None
            if trace_of(headers.get(TRACEPARENT)) is None:  # so the decision is of this trace
                scope["headers"] = [*scope["headers"], (TRACEPARENT.encode(), spans.carried()[TRACEPARENT].encode())]

            async def noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status, answered = message["status"], Headers(raw=message["headers"])
                    span.note({gen_ai.STATUS: status, gen_ai.RESPONSE_ID: answered.get("knowgate-decision")})
                    if status not in (404, 405):  # a path that is there is nobody's to choose
                        span.note({gen_ai.ROUTE: scope["path"]})
                        span.named(f"POST {scope['path']}")
                    if status >= 500:
                        span.failed(str(status))
                await send(message)

            tokens = CARRIED.set(spans.carried()), WATCHED.set(_watch)
            try:
                await self._app(scope, receive, noting)
            finally:
                CARRIED.reset(tokens[0])
                WATCHED.reset(tokens[1])


def note_answer(reason: str, attempts: Sequence[Attempt]) -> None:
    """What came of the request whose span is under way: who answered, why, and the tokens of that
    answer.
    """
    if not spans.is_on():
        return
    known: dict[str, Any] = {gen_ai.REASON: reason}
    if attempts:
        last = attempts[-1]
        known |= {gen_ai.TIER: last.tier, gen_ai.RESPONSE_MODEL: last.model}
        known |= {gen_ai.INPUT_TOKENS: last.tokens_in, gen_ai.OUTPUT_TOKENS: last.tokens_out}
    spans.note(known)


@contextmanager
def _watch(model: str) -> Iterator[Callable[[object], None]]:
    """One call to a tier; of a stream until the head of its answer is there."""
    known = {gen_ai.OPERATION: gen_ai.CHAT, gen_ai.REQUEST_MODEL: model}
    with spans.span(f"{gen_ai.CHAT} {model}", Kind.CLIENT, known) as span:
        token = CARRIED.set(spans.carried())

        def came(outcome: object) -> None:
            if span is None:
                return
            if isinstance(outcome, BackendFailed):
                span.failed(outcome.failure.value)
            elif isinstance(outcome, Reply):
                shown = outcome.shown
                span.note({gen_ai.INPUT_TOKENS: shown.tokens_in, gen_ai.OUTPUT_TOKENS: shown.tokens_out})

        try:
            yield came
        finally:
            CARRIED.reset(token)

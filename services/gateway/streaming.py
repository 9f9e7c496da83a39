"""A conversation that the cascade answers in events.

The head of the answer waits until it is known which tier's it is, so that a failure is an HTTP
error; but no longer than proxies between us and the caller can be trusted to wait. After that the
head goes out, comments keep the connection open, and a failure is the stream's last event.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from knowgate._deciding.query import Query
from knowgate._serving.cascade import Cascade
from knowgate._serving.serving import Answer
from knowgate._serving.streaming import Streamed, answer_streamed
from knowgate.backends._text.passed import Reading, event_of
from knowgate.backends.protocol import Finish, Reply
from knowgate.errors import KnowgateError
from services.gateway.answering import Given, query_of
from services.gateway.answers import explained
from services.gateway.asked import AskedChat
from services.gateway.chat import Names, account_of, completion_chunks, headers_of
from services.gateway.events import EventResponse
from services.gateway.presence import while_present

HEAD_WITHIN_S = 5.0
COMMENT = b": the tiers are being asked\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One such conversation on its way."""

    asked: AskedChat
    query: Query
    names: Names
    patience_s: float  # before the head, and between comments
    given: Callable[[Given], Any]  # hears of an answer once it is whole


async def stream_chat(
    request: Request,
    cascade: Cascade,
    asked: AskedChat,
    names: Names,
    given: Callable[[Given], Any],
    *,
    patience_s: float = HEAD_WITHIN_S,
) -> Response:
    """The answer's events. Raises NoAnswer where none begins in time."""
    assert cascade.serving is not None
    query = query_of(cascade, asked)
    stream = Stream(asked=asked, query=query, names=names, given=given, patience_s=patience_s)
    asking = answer_streamed(cascade.serving, query, asked.messages, asked.coverage.parameters)
    work = asyncio.ensure_future(asking)
    if await while_present(request, _is_done(work, patience_s)):
        streamed = work.result()
        headers, events = headers_of(streamed.answer), _events(stream, streamed)
        if streamed.passing is None:
            headers |= Given.of(streamed.answer, query).headers
    else:
        headers, events = {"Knowgate-Decision": str(query.decision_id)}, _late_events(stream, work)
    return EventResponse(events, give_up=partial(_give_up, work), headers=headers)


async def _is_done(work: "asyncio.Future[Streamed]", within_s: float) -> bool:
    """Whether it is by then; cancelled with whoever waits."""
    try:
        done, _ = await asyncio.wait({work}, timeout=within_s)
    except asyncio.CancelledError:
        await _give_up(work)
        raise
    return bool(done)


async def _give_up(work: "asyncio.Future[Streamed]") -> None:
    """Ends what is still asked, or still comes."""
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    if not work.cancelled() and work.exception() is None and (passing := work.result().passing) is not None:
        await passing.give_up()


async def _late_events(stream: Stream, work: "asyncio.Future[Streamed]") -> AsyncIterator[bytes]:
    """Comments while the tiers are asked, and what comes of it then."""
    yield COMMENT
    while not (await asyncio.wait({work}, timeout=stream.patience_s))[0]:
        yield COMMENT
    try:
        streamed = work.result()
    except KnowgateError as error:
        _, words, _ = explained(error)
        yield event_of({"error": words})
        return
    async for event in _events(stream, streamed):
        yield event


async def _events(stream: Stream, streamed: Streamed) -> AsyncIterator[bytes]:
    answer, passing, usage = streamed.answer, streamed.passing, stream.asked.usage_in_stream
    if passing is None:
        stream.given(Given.of(answer, stream.query))
        for event in completion_chunks(answer, stream.names, with_usage=usage):
            yield event
    else:
        rewrite = _Rewrite(answer, stream.names)

        def ended_with(reading: Reading) -> None:
            stream.given(Given.of(rewrite.whole(reading), stream.query))

        async for chunk in passing.stream(hides_usage=not usage, rewrite=rewrite, ended_with=ended_with):
            yield chunk


class _Rewrite:
    """Makes of each chunk of a tier's what the caller gets: with the decision's id, and the
    account in the first.
    """

    def __init__(self, answer: Answer, names: Names) -> None:
        self._answer = answer
        self._names = names
        self._first = True

    def __call__(self, document: dict[str, Any]) -> dict[str, Any]:
        own: dict[str, Any] = {"id": f"chatcmpl-{self._answer.decision_id}"}
        own["model"] = self._names.models[self._answer.tier]
        if self._first:
            own["knowgate"] = account_of(self._answer, self._names)
        self._first = False
        choices = document.get("choices")
        if isinstance(choices, list):  # what was listed is for the cascade
            own["choices"] = [
                {name: value for name, value in one.items() if name != "logprobs"} if isinstance(one, dict) else one
                for one in choices
            ]
        return document | own

    def whole(self, reading: Reading) -> Answer:
        """The answer, now that its text is known."""
        finish = Finish(reading.finish) if reading.finish in tuple(Finish) else None
        return replace(self._answer, reply=Reply(shown=reading.shown(0.0), finish=finish))

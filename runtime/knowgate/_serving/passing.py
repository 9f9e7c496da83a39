"""A request that no certificate covers, passed to the last tier as it is, and its answer back.

Nothing is decided, so nothing is waited for: events of a stream go on as they come. The decision is
logged when the answer has ended, before its last event is passed on; an answer that breaks off, or
whose caller leaves, is no decision. How often and for how long the tier is tried is as for any
other request, until the head of its answer is there.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from knowgate._deciding.query import Query
from knowgate._deciding.ruling import Ruling
from knowgate._serving.replies import attempt
from knowgate._serving.serving import Serving
from knowgate._serving.steps import drive_async
from knowgate.backends._text.passed import Events, Reading, event_of
from knowgate.backends.chat import read_chat
from knowgate.backends.opened import Opened
from knowgate.backends.protocol import Message, Reply
from knowgate.backends.tries import Tier, tries
from knowgate.errors import BackendFailed, NoAnswer, RecordInvalid

Opens = Callable[[Any, float], Awaitable[Opened]]  # a back-end, and how long it may take
Rewrite = Callable[[dict[str, Any]], dict[str, Any]]
NOTHING_SHOWN = Reply(shown=Reading().shown(0.0))

log = logging.getLogger("knowgate.answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """An answer that came at once."""

    content: bytes
    media_type: str
    ruling: Ruling
    document: Any  # its JSON; None where it is none


def _nothing(_: Reading) -> None:
    """For callers that have no use for the answer's end."""


class _Opening:
    """A back-end as the tries of a tier ask it: its reply is that the answer's head is there."""

    def __init__(self, backend: Any, opens: Opens) -> None:
        self.model: str = backend.model
        self.opened: Opened | None = None
        self._backend = backend
        self._opens = opens

    def ask(self, messages: Sequence[Message], *, timeout_s: float) -> Reply:
        raise NotImplementedError("requests are passed on by an event loop alone")

    async def ask_async(self, messages: Sequence[Message], *, timeout_s: float) -> Reply:
        self.opened = await self._opens(self._backend, timeout_s)
        return NOTHING_SHOWN


class Passing:
    """One such request: open it, then take the answer whole or as a stream, whichever it is."""

    def __init__(self, serving: Serving, query: Query) -> None:
        self._serving = serving
        self._query = query
        self._began = time.perf_counter()
        self._opened: Opened | None = None
        self._reading = Reading()  # of a stream
        self._events = Events()
        self._ended = False  # the stream did, or was given up
        self._messages: Sequence[Message] = ()  # of a conversation as the tier is declared, and what goes with it
        self._parameters: Mapping[str, Any] = {}

    @property
    def is_stream(self) -> bool:
        """Whether the answer comes in events."""
        assert self._opened is not None
        return self._opened.is_stream

    @property
    def media_type(self) -> str:
        """What the tier calls its answer."""
        assert self._opened is not None
        return self._opened.media_type

    async def open(self, path: str, body: Mapping[str, Any], messages: Sequence[Message] = ()) -> None:
        """Asks the last tier until the head of its answer is there. Raises NoAnswer, and
        RecordInvalid where it has no API to ask, or is not the last one any more.
        """
        await self._open(_as_it_is(path, body), messages)

    async def open_chat(self, messages: Sequence[Message], parameters: Mapping[str, Any]) -> None:
        """The same with a request as the tier is declared, answered in events."""

        def opens(backend: Any, timeout_s: float) -> Awaitable[Opened]:
            opening: Awaitable[Opened] = backend.with_parameters(parameters).open_chat_async(
                messages, timeout_s=timeout_s
            )
            return opening

        self._messages, self._parameters = messages, parameters
        await self._open(opens, messages)

    async def _open(self, opens: Opens, messages: Sequence[Message]) -> None:
        tiers = self._serving.tiers
        if self._query.last != len(tiers) - 1:
            cause = f"the bundle in force has tiers 0 to {self._query.last}"
            raise RecordInvalid("backends", len(tiers), cause)
        try:
            self._opened = await _opened_by_last(self._serving, opens, messages)
        except asyncio.CancelledError:
            self._serving.abandon(self._query)
            raise

    async def whole(self) -> Whole:
        """The answer, logged. Raises NoAnswer where it breaks off."""
        content, reading = await self._content(), Reading()
        document = reading.document(content)
        ruling = await self._log(reading)
        return Whole(content=content, media_type=self.media_type, ruling=ruling, document=document)

    async def reply(self) -> Reply:
        """The same of a chat completion, read as any tier's. Raises NoAnswer where it is none."""
        content = await self._content()
        try:
            reply = read_chat(content, p_t_kind=None).reply
        except BackendFailed as error:
            raise NoAnswer(f"the last tier gave no answer: {error}; ask again", error) from error
        reply = replace(reply, shown=replace(reply.shown, latency_ms=self._waited_ms))
        attempt(self._query, self._query.next_tier, reply)
        await self._finish()
        return reply

    async def _content(self) -> bytes:
        assert self._opened is not None
        limit = self._serving.tiers[-1].patience.timeout_s
        try:
            async with asyncio.timeout(limit):
                return await self._opened.content()
        except (BackendFailed, TimeoutError) as error:
            cause = error if isinstance(error, BackendFailed) else None
            what = error if cause else "its time was up"
            raise NoAnswer(f"the last tier's answer broke off: {what}; ask again", cause) from error
        except asyncio.CancelledError:
            self._serving.abandon(self._query)
            raise

    @property
    def _waited_ms(self) -> float:
        return (time.perf_counter() - self._began) * 1e3

    async def stream(
        self,
        *,
        hides_usage: bool = False,
        rewrite: Rewrite | None = None,
        ended_with: Callable[[Reading], None] = _nothing,
    ) -> AsyncIterator[bytes]:
        """The answer's events as they come; one that tells nothing but the usage is left out where
        `hides_usage`, and what `rewrite` makes of each document takes its place.

        An answer that breaks off ends with an event that says so, and is not logged; of another one
        `ended_with` hears.
        """
        assert self._opened is not None
        reading, last = self._reading, b""
        try:
            async for event, document in self._coming():
                if rewrite is not None and isinstance(document, dict):
                    event = event_of(rewrite(document))
                if reading.finished:
                    last += event  # who has read it finds the decision logged
                elif not (hides_usage and _is_usage_alone(document)):
                    yield event
            self._ended = True
            await self._log(reading)
            ended_with(reading)
            yield last + self._events.rest()
        except BackendFailed as error:
            self._ended = True
            log.warning("decision %s is not recorded: the stream broke off: %s", self._query.decision_id, error)
            yield broken_off(f"the answer broke off: {error}")
        finally:
            await self.give_up()

    async def _coming(self) -> AsyncIterator[tuple[bytes, Any]]:
        """The events as they come, each with its JSON."""
        assert self._opened is not None
        async for piece in self._opened.pieces():
            for event in self._events.feed(piece):
                yield event, self._reading.event(event)

    async def give_up(self) -> None:
        """Breaks the stream off, begun or not, and books what it took; nothing where it has
        ended.
        """
        if self._opened is not None and not self._ended:
            self._ended = True
            self._serving.abandon(self._query)
            await self._opened.close()

    async def _log(self, reading: Reading) -> Ruling:
        shown = reading.shown(self._waited_ms)
        shown = shown if self._query.stores_texts else replace(shown, answer=None)
        ruling = self._query.attempt(shown, tier=self._query.next_tier)
        await self._finish()
        return ruling

    async def _finish(self) -> None:
        """Logs the decision, now or once the tiers are observed that were not waited for."""
        finish = self._serving.finish
        await asyncio.shield(asyncio.to_thread(finish, self._query, self._messages, self._parameters))


async def open_last(serving: Serving, path: str, body: Mapping[str, Any]) -> Opened:
    """The head of what the last tier's API answers to `body` at `path`, tried as often as any
    request. Raises NoAnswer, and RecordInvalid where the tier has no API.
    """
    return await _opened_by_last(serving, _as_it_is(path, body), ())


def _as_it_is(path: str, body: Mapping[str, Any]) -> Opens:
    def opens(backend: Any, timeout_s: float) -> Awaitable[Opened]:
        opening: Awaitable[Opened] = backend.open_async(path, body, timeout_s=timeout_s)
        return opening

    return opens


async def _opened_by_last(serving: Serving, opens: Opens, messages: Sequence[Message]) -> Opened:
    tier = serving.tiers[-1]
    if not hasattr(tier.backend, "open_async"):
        raise RecordInvalid("backends", tier.backend.model, "the last tier cannot be passed a request as it is")
    try:
        return await opened_by(serving, tier, opens, messages, last=True)
    except BackendFailed as error:
        raise NoAnswer(f"the last tier, {tier.backend.model}, gave no answer: {error}; ask again", error) from error


async def opened_by(serving: Serving, tier: Tier, opens: Opens, messages: Sequence[Message], *, last: bool) -> Opened:
    """The head of an answer, tried as often as the tier's patience allows. Raises BackendFailed."""
    opening = _Opening(tier.backend, opens)
    steps = tries(replace(tier, backend=opening), last=last, random=serving.random, messages=messages or None)
    await drive_async(steps, messages)
    assert opening.opened is not None
    return opening.opened


def broken_off(message: str) -> bytes:
    """The event that ends a stream which goes on no more, in the words of the chat protocol."""
    return event_of({"error": {"message": message, "type": "server_error", "param": None, "code": None}})


def _is_usage_alone(document: Any) -> bool:
    return isinstance(document, dict) and document.get("choices") == [] and document.get("usage") is not None

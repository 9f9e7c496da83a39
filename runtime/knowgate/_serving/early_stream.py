"""A smaller tier's answer in events, where the prompt's state alone decides that it is kept.

The cascade can still go on to the next tier until the first word is there: where none comes, since
the tier refuses, calls a tool or ends, that is an escalation as ever. What comes after it is served
whatever it is: a text that half stood on somebody's screen cannot be taken back. An answer that was
cut off is stored as what it was, kept and served, with a note.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Any

from knowgate._deciding.query import Query
from knowgate._deciding.ruling import Ruling
from knowgate._serving.passing import Passing, opened_by
from knowgate._serving.replies import attempt_sent
from knowgate._serving.serving import Serving
from knowgate.backends._text.passed import Reading
from knowgate.backends.opened import Opened
from knowgate.backends.protocol import Message, Reply
from knowgate.errors import BackendFailed, Failure


class EarlyStream(Passing):
    """One such answer of tier `tier`: begin it, then take it as a stream."""

    def __init__(self, serving: Serving, query: Query, *, tier: int) -> None:
        super().__init__(serving, query)
        self._tier = tier
        self._events_until: list[tuple[bytes, Any]] = []  # the first word, which `begin` has read
        self._rest: AsyncIterator[tuple[bytes, Any]] | None = None
        self._backend: Any = None

    async def begin(self, messages: Sequence[Message], parameters: Mapping[str, Any]) -> Reply | None:
        """Asks for the answer until its first word is there. Returns the whole reply where there is
        none, or where the server does not stream. Raises BackendFailed.
        """
        tier = self._serving.given(parameters)[self._tier]
        self._messages, self._parameters, self._backend = messages, parameters, tier.backend

        def opens(backend: Any, timeout_s: float) -> Awaitable[Opened]:
            opening: Awaitable[Opened] = backend.open_chat_async(messages, timeout_s=timeout_s, listed=True)
            return opening

        self._opened = await opened_by(self._serving, tier, opens, messages, last=False)
        try:
            async with asyncio.timeout(tier.patience.timeout_s):
                return await self._first_word()
        except TimeoutError as error:
            await self._opened.close()
            raise BackendFailed(f"{tier.backend.model} wrote no word in time", Failure.TIMEOUT) from error
        except BaseException:  # also where the caller has left
            await self._opened.close()
            raise

    async def _first_word(self) -> Reply | None:
        assert self._opened is not None
        if not self.is_stream:
            reply: Reply = self._backend.reply_of(await self._opened.content(), self._began)
            return reply
        self._rest = super()._coming()
        async for event in self._rest:
            self._events_until.append(event)
            if self._reading.has_text:
                return None
        return self._reply()

    async def _coming(self) -> AsyncIterator[tuple[bytes, Any]]:
        for event in self._events_until:
            yield event
        assert self._rest is not None, "it has begun"
        async for event in self._rest:
            yield event

    def _reply(self) -> Reply:
        """What came, read as a whole answer is."""
        content = json.dumps(self._reading.completion()).encode()
        reply: Reply = self._backend.reply_of(content, self._began)
        return reply

    async def _log(self, reading: Reading) -> Ruling:
        ruling = attempt_sent(self._query, self._tier, self._reply())
        await self._finish()
        return ruling

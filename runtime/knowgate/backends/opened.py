"""An answer whose head has come: what is passed on as it is, whole or piece by piece."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Any

from knowgate.errors import BackendFailed, Failure


class Opened:
    """A server's answer of status 200. Read it, or close it; either frees its connection."""

    def __init__(self, answer: Any, wrapped: Callable[[], AbstractContextManager[None]], *, most_bytes: int) -> None:
        self._answer = answer  # a response of httpx2
        self._wrapped = wrapped
        self._most_bytes = most_bytes

    @property
    def media_type(self) -> str:
        """What the server calls it; an event stream is `text/event-stream`."""
        return str(self._answer.headers.get("content-type", "application/json"))

    @property
    def is_stream(self) -> bool:
        """Whether events come, for as long as there are any."""
        return self.media_type.partition(";")[0].strip().lower() == "text/event-stream"

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises BackendFailed where it breaks off, is too large, or no piece
        comes within the time that the request was given.
        """
        size = 0
        try:
            with self._wrapped():
                async for piece in self._answer.aiter_bytes():
                    size += len(piece)
                    if size > self._most_bytes:
                        cause = f"{self._answer.url}: the answer is larger than {self._most_bytes} bytes"
                        raise BackendFailed(cause, Failure.GARBAGE)
                    yield piece
        finally:
            await self._answer.aclose()

    async def content(self) -> bytes:
        """The whole body. Raises BackendFailed."""
        return b"".join([piece async for piece in self.pieces()])

    async def close(self) -> None:
        """Gives it up."""
        await self._answer.aclose()

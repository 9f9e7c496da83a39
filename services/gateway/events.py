"""A response in events that is given up in order, also where its caller left before the first."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

EVENT_STREAM = "text/event-stream"


class EventResponse(StreamingResponse):
    """Sends `events`; `give_up` is called at its end, whatever that is."""

    def __init__(
        self,
        events: AsyncIterator[bytes],
        *,
        give_up: Callable[[], Awaitable[None]],
        headers: Mapping[str, str],
        media_type: str = EVENT_STREAM,
    ) -> None:
        super().__init__(events, media_type=media_type, headers=headers)
        self._give_up = give_up

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the head and the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._give_up()

"""Works for a caller only while the caller is there.

A client that gives up, by a timeout or since its own user left, closes its connection. Going on
would ask the next, larger tier for an answer that nobody reads, once more for each of the client's
retries.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from services.errors import ServicesError

T = TypeVar("T")


class CallerLeft(ServicesError):
    """Whoever asked closed the connection before there was an answer."""


async def while_present(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; it is cancelled when the caller of `request`, whose body was read,
    leaves.

    Raises CallerLeft.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_leave(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise CallerLeft(f"{request.method} {request.url.path}: the caller left before there was an answer")
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _leave(request: Request) -> None:
    """Ends when the caller's connection is closed."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

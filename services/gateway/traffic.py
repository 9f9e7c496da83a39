"""Requests under way: how many there may be, and how long they take.

More at once than the tiers can serve would wait for each other until all of them time out, so they
are sent away with 429 and asked to come back. Only who may ask takes up room.
"""

import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.errors import ServicesError

COME_BACK_S = 1
COUNTED = "knowgate.counted"  # of a request's scope
Observed = Callable[[str, int, float, float], Any]  # path, status, seconds to the first byte of the answer, to its last


class NoRoom(ServicesError):
    """As many requests are being answered as may be at once."""


class Traffic:
    """What is under way, of one gateway."""

    def __init__(self, *, most: int) -> None:
        self.most = most
        self.in_flight = 0
        self.refused = 0  # since the start

    def enter(self, request: Request) -> None:
        """Takes up room until the last byte of the answer to `request`. Raises NoRoom."""
        if self.in_flight >= self.most:
            self.refused += 1
            raise NoRoom(f"{self.most} requests are being answered, and no more are taken at once: ask again")
        self.in_flight += 1
        request.scope[COUNTED] = True

    def left(self, scope: Scope) -> None:
        """Gives back what the request of `scope` took up."""
        if scope.pop(COUNTED, False):
            self.in_flight -= 1


class Timed:
    """The middleware that hears when an answer begins and ends."""

    def __init__(self, app: ASGIApp, *, traffic: Traffic, observed: Observed) -> None:
        self._app = app
        self._traffic = traffic
        self._observed = observed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers as the application does."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        began, status, first = time.perf_counter(), 0, None

        async def noting(message: Message) -> None:
            nonlocal status, first
            await send(message)
            if message["type"] == "http.response.start":
                status = message["status"]
            elif first is None and message.get("body", b"")[:1] not in (b"", b":"):  # comments only keep it open
                first = time.perf_counter() - began

        try:
            await self._app(scope, receive, noting)
        finally:
            self._traffic.left(scope)
            if first is not None:
                self._observed(scope["path"], status, first, time.perf_counter() - began)

"""Requests under way: how many there may be, and how long they take.

More at once than the tiers can serve would wait for each other until all of them time out, so they
are sent away with 429 and asked to come back.
"""

import time
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.answers import error_answer

COME_BACK_S = 1
Observed = Callable[[str, int, float, float], Any]  # path, status, seconds to the first byte of the answer, to its last


class Traffic:
    """What is under way, of one gateway."""

    def __init__(self, *, most: int) -> None:
        self.most = most
        self.in_flight = 0
        self.refused = 0  # since the start


class Counted:
    """The middleware that counts requests of tiers, from their head to the last byte of the
    answer.
    """

    def __init__(self, app: ASGIApp, *, traffic: Traffic, observed: Observed) -> None:
        self._app = app
        self._traffic = traffic
        self._observed = observed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or sends away; what asks no tier has room always."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        traffic = self._traffic
        if traffic.in_flight >= traffic.most:
            traffic.refused += 1
            message = f"{traffic.most} requests are being answered, and no more are taken at once: ask again"
            await error_answer(429, message, "rate_limit_error", headers={"Retry-After": str(COME_BACK_S)})(
                scope, receive, send
            )
            return
        began, status, first = time.perf_counter(), 0, None

        async def noting(message: Message) -> None:
            nonlocal status, first
            await send(message)
            if message["type"] == "http.response.start":
                status = message["status"]
            elif first is None and message.get("body", b"")[:1] not in (b"", b":"):  # comments only keep it open
                first = time.perf_counter() - began

        traffic.in_flight += 1
        try:
            await self._app(scope, receive, noting)
        finally:
            traffic.in_flight -= 1
            if first is not None:
                self._observed(scope["path"], status, first, time.perf_counter() - began)

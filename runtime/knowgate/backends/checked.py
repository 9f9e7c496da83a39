"""How an address that somebody declared is asked: by connections to addresses that were looked at.

A name may stand for another address a moment later, which is not where the declaration says. So a
connection goes to an address that was looked at, and not to a name. For endpoints of models, and
for webhooks.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx2

from knowgate._wire.networks import reachable

FRESH_S = 10.0  # for how long a name stands for the addresses that were looked at


class CheckedTransport(httpx2.AsyncHTTPTransport):
    """Connects also to what lies in `networks`, of what is refused otherwise; `options` are the
    base's.
    """

    def __init__(
        self, networks: Sequence[str] = (), *, clock: Callable[[], float] = time.monotonic, **options: Any
    ) -> None:
        super().__init__(**options)
        self._networks = networks
        self._clock = clock
        self._known: dict[tuple[str, int], tuple[float, tuple[str, ...]]] = {}  # with the time until which

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer of the first address that takes the connection; the next request begins with
        that one. Raises ConnectError where none may be.
        """
        host, port = request.url.host, request.url.port or (443 if request.url.scheme == "https" else 80)
        until, addresses = await self._addresses(host, port)
        request.extensions = {**request.extensions, "sni_hostname": host}  # certificates are of the name
        failed: httpx2.TransportError | None = None
        for at, address in enumerate(addresses):
            if request.url.host != address:  # to make another URL takes as long as all else here
                request.url = request.url.copy_with(host=address)
            try:
                answer = await super().handle_async_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failed = error
                continue
            if at:
                self._known[host, port] = (until, (*addresses[at:], *addresses[:at]))
            return answer
        self._known.pop((host, port), None)  # it may have moved
        assert failed is not None, "there is an address, or an error"
        raise failed

    async def _addresses(self, host: str, port: int) -> tuple[float, tuple[str, ...]]:
        """Where to connect, and until when that holds. Looking a name up takes a thread, and most
        requests go over connections that are there already. Raises ConnectError.
        """
        known = self._known.get((host, port))
        if known is None or self._clock() >= known[0]:
            try:
                addresses = await asyncio.to_thread(reachable, host, port, self._networks)
            except (OSError, UnicodeError) as error:
                raise httpx2.ConnectError(str(error)) from error
            known = self._known[host, port] = (self._clock() + FRESH_S, addresses)
        return known

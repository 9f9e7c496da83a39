"""How an address that somebody declared is asked: by connections to addresses that were looked at.

A name may stand for another address a moment later, which is not where the declaration says. For
endpoints of models, and for webhooks.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import httpx2

from knowgate._wire.networks import reachable


class CheckedTransport(httpx2.AsyncHTTPTransport):
    """Connects also to what lies in `networks`, of what is refused otherwise; `options` are the
    base's.
    """

    def __init__(self, networks: Sequence[str] = (), **options: Any) -> None:
        super().__init__(**options)
        self._networks = networks

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer of the first address that takes the connection. Raises ConnectError where none
        may be.
        """
        host, port = request.url.host, request.url.port or (443 if request.url.scheme == "https" else 80)
        try:
            *others, last = await asyncio.to_thread(reachable, host, port, self._networks)
        except (OSError, UnicodeError) as error:
            raise httpx2.ConnectError(str(error)) from error
        request.extensions = {**request.extensions, "sni_hostname": host}  # certificates are of the name
        for address in others:
            request.url = request.url.copy_with(host=address)
            with suppress(httpx2.ConnectError, httpx2.ConnectTimeout):
                return await super().handle_async_request(request)
        request.url = request.url.copy_with(host=last)
        return await super().handle_async_request(request)

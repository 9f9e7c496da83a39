"""The HTTP client of an endpoint: it connects to addresses that were looked at, and follows no
redirect.

A name may stand for another address a moment later, and an answer may send the prompt elsewhere;
neither is where the declaration says. Where the environment names a proxy, that one resolves the
name and connects, and is trusted to.
"""

import asyncio
import urllib.request
from contextlib import suppress
from urllib.parse import urlsplit

import httpx2
import openai

from knowgate._wire.networks import reachable


def client_of(url: str) -> openai.DefaultAsyncHttpxClient:
    """The client for the endpoint at `url`."""
    parts = urlsplit(url)
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.hostname or ""):
        return openai.DefaultAsyncHttpxClient(follow_redirects=False)
    return openai.DefaultAsyncHttpxClient(follow_redirects=False, transport=_CheckedTransport())


class _CheckedTransport(httpx2.AsyncHTTPTransport):
    def __init__(self) -> None:
        super().__init__(limits=openai.DEFAULT_CONNECTION_LIMITS)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer of the first address that takes the connection. Raises ConnectError where none
        may be.
        """
        host, port = request.url.host, request.url.port or (443 if request.url.scheme == "https" else 80)
        try:
            *others, last = await asyncio.to_thread(reachable, host, port)
        except (OSError, UnicodeError) as error:
            raise httpx2.ConnectError(str(error)) from error
        request.extensions = {**request.extensions, "sni_hostname": host}  # certificates are of the name
        for address in others:
            request.url = request.url.copy_with(host=address)
            with suppress(httpx2.ConnectError, httpx2.ConnectTimeout):
                return await super().handle_async_request(request)
        request.url = request.url.copy_with(host=last)
        return await super().handle_async_request(request)

"""How an address that somebody declared is asked: by connections to addresses that were looked at.

A name may stand for another address a moment later, which is not where the declaration says. So a
connection goes to an address that was looked at, and not to a name; and no answer sends a request
elsewhere. For endpoints of models, for receivers, and for all else that is asked over HTTP: clients
are made here and nowhere else.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx2

from knowgate._wire.networks import PRIVATE, reachable

FRESH_S = 10.0  # for how long a name stands for the addresses that were looked at
_Place = tuple[str, int]  # a host and a port


def checked_client(networks: Sequence[str] = PRIVATE, **options: Any) -> httpx2.Client:
    """A client that connects only to addresses that are asked and to `networks`, and follows no
    redirect. Where the environment names a proxy, that one looks names up and connects, and is
    trusted to.
    """
    return httpx2.Client(transport=CheckedSyncTransport(networks), follow_redirects=False, **options)


def checked_async_client(
    networks: Sequence[str] = PRIVATE, *, limits: httpx2.Limits | None = None, **options: Any
) -> httpx2.AsyncClient:
    """The same for an event loop. `trust_env` False: not through a proxy either."""
    kept: dict[str, Any] = {} if limits is None else {"limits": limits}
    trust: dict[str, Any] = {name: options[name] for name in ("trust_env",) if name in options}
    transport = CheckedTransport(networks, **kept, **trust)
    return httpx2.AsyncClient(transport=transport, follow_redirects=False, **kept, **options)


class _Looked:
    """The addresses that names stand for, each looked at, with the time until which they do."""

    def __init__(self, networks: Sequence[str], clock: Callable[[], float]) -> None:
        self._networks = networks
        self._clock = clock
        self._known: dict[_Place, tuple[float, tuple[str, ...]]] = {}

    def fresh(self, place: _Place) -> tuple[str, ...] | None:
        until, addresses = self._known.get(place, (0.0, ()))
        return addresses if addresses and self._clock() < until else None

    def look(self, place: _Place) -> tuple[str, ...]:
        """Raises ConnectError where none may be asked."""
        try:
            addresses = reachable(*place, self._networks)
        except (OSError, UnicodeError) as error:
            raise httpx2.ConnectError(str(error)) from error
        self._known[place] = (self._clock() + FRESH_S, addresses)
        return addresses

    def prefer(self, place: _Place, at: int) -> None:
        """The address that took the connection is asked first from then on."""
        if at and place in self._known:
            until, addresses = self._known[place]
            self._known[place] = (until, (*addresses[at:], *addresses[:at]))

    def forget(self, place: _Place) -> None:
        self._known.pop(place, None)


def _place_of(request: httpx2.Request) -> _Place:
    """Where it goes; from here on by the name that certificates are of."""
    host, port = request.url.host, request.url.port or (443 if request.url.scheme == "https" else 80)
    request.extensions = {**request.extensions, "sni_hostname": host}
    return host, port


def _turn_to(request: httpx2.Request, address: str) -> None:
    if request.url.host != address:  # to make another URL takes as long as all else here
        request.url = request.url.copy_with(host=address)


class CheckedTransport(httpx2.AsyncHTTPTransport):
    """Connects to what lies in `networks`, and to nothing else of what is refused otherwise;
    `options` are the base's.
    """

    def __init__(
        self, networks: Sequence[str] = PRIVATE, *, clock: Callable[[], float] = time.monotonic, **options: Any
    ) -> None:
        super().__init__(**options)
        self._looked = _Looked(networks, clock)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer of the first address that takes the connection; the next request begins with
        that one. Raises ConnectError where none may be.
        """
        place = _place_of(request)
        # Looking a name up takes a thread, and most requests go over connections that are there
        # already.
        addresses = self._looked.fresh(place)
        if addresses is None:
            addresses = await asyncio.to_thread(self._looked.look, place)
        failed: httpx2.TransportError | None = None
        for at, address in enumerate(addresses):
            _turn_to(request, address)
            try:
                answer = await super().handle_async_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failed = error
                continue
            self._looked.prefer(place, at)
            return answer
        self._looked.forget(place)  # it may have moved
        assert failed is not None, "there is an address, or an error"
        raise failed


class CheckedSyncTransport(httpx2.HTTPTransport):
    """The same without an event loop."""

    def __init__(self, networks: Sequence[str] = PRIVATE, **options: Any) -> None:
        super().__init__(**options)
        self._looked = _Looked(networks, time.monotonic)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer of the first address that takes the connection. Raises ConnectError where none
        may be.
        """
        place = _place_of(request)
        failed: httpx2.TransportError | None = None
        for at, address in enumerate(self._looked.fresh(place) or self._looked.look(place)):
            _turn_to(request, address)
            try:
                answer = super().handle_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failed = error
                continue
            self._looked.prefer(place, at)
            return answer
        self._looked.forget(place)
        assert failed is not None, "there is an address, or an error"
        raise failed

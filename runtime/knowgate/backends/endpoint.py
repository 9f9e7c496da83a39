"""One chat endpoint over HTTP: a body out, bytes or one kind of error back.

Nothing is asked again here, since only the cascade knows how much time a query has left. A timeout
of the socket alone lets a server that sends one byte a second hold a query for hours, so requests
run on an event loop, which can give one up anywhere: the caller's, or a thread's.
"""

import asyncio
import json
import re
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import httpx2

from knowgate._wire.tracing import CARRIED
from knowgate.backends.checked import checked_async_client
from knowgate.backends.loop_thread import LoopThread
from knowgate.backends.opened import Opened
from knowgate.backends.protocol import CHAT
from knowgate.errors import BackendFailed, Failure, RecordInvalid, ServerSaid

_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]+)?")
CONNECTIONS = httpx2.Limits(max_connections=1000, max_keepalive_connections=100)
CONNECT_S = 5.0  # a server that accepts no connection for so long is not there
MAX_ANSWER_BYTES = 64 * 2**20
SHOWN = 300  # characters of an error that a message shows
SHOWN_OF_SERVER = 2000  # characters of a server's own message that is handed on
CLOSED_WITHIN_S = 5.0  # what another thread's event loop may take to close its connections


class Endpoint:
    """`url` is the API's root, e.g. http://host:8000/v1. Shared between threads and event loops."""

    def __init__(self, url: str, api_key: str | None) -> None:
        if not url.startswith(("http://", "https://")):
            raise RecordInvalid("url", url, "give the API's root, e.g. http://host:8000/v1")
        self.url = url
        self._addresses: dict[str, httpx2.URL] = {}  # by path; to read one takes long
        self._key = api_key or "none"  # servers of one's own ask for none
        self._thread = LoopThread()
        # An event loop's connections are of no use to another one.
        self._async: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx2.AsyncClient] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._closing: set[asyncio.Task[None]] = set()  # an event loop alone would not keep them

    def post(self, body: Mapping[str, Any], *, deadline: float) -> bytes:
        """The answer to `body`, before `deadline` (of time.monotonic). Raises BackendFailed."""
        return self._thread.run(lambda: self.post_async(body, deadline=deadline))

    async def post_async(self, body: Mapping[str, Any], *, deadline: float) -> bytes:
        """`post`, on the running event loop."""
        opened = await self.open_async(CHAT, body, deadline=deadline)
        with self._wrapped():
            async with asyncio.timeout(deadline - time.monotonic()):
                return await opened.content()

    async def open_async(self, path: str, body: Mapping[str, Any], *, deadline: float) -> Opened:
        """What `url` + `path` answers to `body`, as it is: its head before `deadline`, its body
        whenever it comes. Raises BackendFailed for an error, a redirect, and where nothing comes.
        """
        left = deadline - time.monotonic()
        if left <= 0:
            raise BackendFailed(f"{self.url}: no time was left to ask", Failure.TIMEOUT)
        client = self._client()
        own = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        head = {**CARRIED.get(), **own}
        timeout = httpx2.Timeout(left, connect=min(left, CONNECT_S))
        with self._wrapped():
            content = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
            address = self._addresses.get(path) or self._addresses.setdefault(
                path, httpx2.URL(self.url.rstrip("/") + path)
            )
            request = client.build_request("POST", address, content=content, headers=head, timeout=timeout)
            async with asyncio.timeout(left):
                answer = await client.send(request, stream=True)
                opened = Opened(answer, self._wrapped, most_bytes=MAX_ANSWER_BYTES)
                if 200 <= answer.status_code < 300:
                    return opened
                raise self._refusal(answer.status_code, answer.headers, _document(await opened.content()))

    def close(self) -> None:
        """Closes the connections of `post`, and those of event loops; what waits for them fails."""
        self._thread.close(self.close_async)
        with self._lock:
            others = tuple(self._async.items())
            self._async.clear()
        for loop, client in others:
            self._close_on(loop, client)

    async def close_async(self) -> None:
        """Closes the connections of this event loop."""
        with self._lock:
            client = self._async.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def _close_on(self, loop: asyncio.AbstractEventLoop, client: httpx2.AsyncClient) -> None:
        """Closes `client` on the loop it belongs to; one that has ended took its
        connections along.
        """
        here = _running_loop()
        if loop.is_closed():
            return
        if loop is here:  # it cannot be waited for by whoever runs on it
            task = loop.create_task(client.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        elif loop.is_running():
            with suppress(TimeoutError, CancelledError):
                asyncio.run_coroutine_threadsafe(client.aclose(), loop).result(CLOSED_WITHIN_S)
        elif here is None:
            loop.run_until_complete(client.aclose())

    def _client(self) -> httpx2.AsyncClient:
        loop = asyncio.get_running_loop()
        with self._lock:
            if loop not in self._async:
                self._async[loop] = _client_of(self.url)
            return self._async[loop]

    @contextmanager
    def _wrapped(self) -> Iterator[None]:
        """Every error of the client, as one of ours."""
        try:
            yield
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            timed_out = isinstance(error, httpx2.TimeoutException) and not isinstance(error, httpx2.ConnectTimeout)
            failure = Failure.TIMEOUT if timed_out else Failure.UNREACHABLE
            reached = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
            raise BackendFailed(f"{self.url} gave no answer ({error!r})", failure, reached=reached) from error
        except UnicodeEncodeError as error:
            raise BackendFailed(f"{self.url} was not asked: {_unsendable(error)}", Failure.UNSENDABLE) from error
        except TimeoutError as error:
            raise BackendFailed(f"{self.url} gave no answer in time", Failure.TIMEOUT) from error

    def _refusal(self, status: int, headers: Mapping[str, str], body: Any) -> BackendFailed:
        """An answer that is an error, as one of ours."""
        words = " ".join(_words(body)[:SHOWN].split())  # a log's line stays one
        return BackendFailed(
            f"{self.url} answered {status}: {words or 'without a word'}",
            _failure_of_status(status),
            retry_after_s=_retry_after_s(headers),
            said=_said(status, body),
        )


def _client_of(url: str) -> httpx2.AsyncClient:
    """A client that follows no redirect: an answer may not send the prompt elsewhere. Where the
    environment names a proxy, that one resolves the name and connects, and is trusted to.
    """
    parts = urlsplit(url)
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.hostname or ""):
        return httpx2.AsyncClient(limits=CONNECTIONS)
    return checked_async_client(limits=CONNECTIONS)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _failure_of_status(status: int) -> Failure:
    if status in (429, 503):
        return Failure.OVERLOADED
    broken = (status >= 500 and status != 501) or status == 408
    return Failure.BROKEN if broken else Failure.REFUSED


def _unsendable(error: UnicodeEncodeError) -> str:
    """What a body holds that UTF-8 does not, without the body."""
    return f"the messages hold {error.object[error.start : error.end][:8]!a}, which is no text; repair its encoding"


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The seconds a server asks for, as a number or as a time."""
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # no time, or a naive one
        return None


def _document(content: bytes) -> Any:
    """The error that a body tells of: what stands under `error`, else all of it."""
    try:
        document = json.loads(content)
    except ValueError:
        return content.decode("utf-8", "replace")
    return document.get("error", document) if isinstance(document, dict) else document


def _said(status: int, words: Any) -> ServerSaid:
    body = words if isinstance(words, dict) else {}
    return ServerSaid(
        status=status,
        message=_words(words)[:SHOWN_OF_SERVER] or f"the tier answered {status} without a word",
        type=_text(body.get("type")),
        param=_text(body.get("param")),
        code=_text(body.get("code")),
    )


def _words(body: Any) -> str:
    """The message, where a body has the protocol's shape or that of other servers (`detail`); else
    the body itself.
    """
    if isinstance(body, dict):
        body = next((body[name] for name in ("message", "detail") if body.get(name)), body)
    return body if isinstance(body, str) else json.dumps(body) if body else ""


def _text(value: Any) -> str | None:
    return str(value)[:SHOWN] if isinstance(value, str | int) and not isinstance(value, bool) else None

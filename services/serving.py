"""How a server of ours speaks to the network: what it waits for, how long, and for how many at
once.

One process serves everybody from one event loop, and anybody may connect before a token is asked
for. So a request's head is bounded in bytes and in time, connections are bounded in number, and
where there are too many, the one that has been waited for longest gives way: a crowd of half-open
connections keeps nobody out. A body's bytes and time are bounded where it is read
(services/http/bodies.py).

h11 is named: httptools, which uvicorn takes where it is installed, knows no bound on a head.
"""

import asyncio
import gc
import itertools
import resource
from collections.abc import Iterable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_HEAD_BYTES = 64 * 2**10
MOST_CONNECTIONS = 2000  # and at most half of the files that this process may open
_NEW_BEFORE_A_COLLECTION = 50_000  # objects: Python by itself looks for garbage at 700
_PIECE = 1024  # bytes of a head that need no look of their own

_turns = itertools.count()  # the event loop's clock stands still while it takes a crowd in


class _Lingering:
    """A transport whose `close` lets a client that is still sending its body read the answer first.

    Closed at once, with bytes of the client's unread, it would be reset, and a batch that is too
    large or of a wrong token would look like a network that fails.
    """

    def __init__(self, transport: asyncio.Transport, protocol: "BoundedProtocol") -> None:
        self._transport = transport
        self._protocol = protocol
        self.lingers = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing is to be written any more."""
        return self.lingers or self._transport.is_closing()

    def close(self) -> None:
        """Nothing more is written; what the client still sends is thrown away until it ends, or
        loses our patience.
        """
        if self._protocol.conn.their_state is not h11.SEND_BODY or not self._transport.can_write_eof():
            self._transport.close()
        elif not self.is_closing():
            self.lingers = True
            self._transport.write_eof()
            self._transport.resume_reading()
            self._protocol.wait()


class BoundedProtocol(H11Protocol):
    """One connection that is closed when it keeps us waiting."""

    head_s = 10.0  # from the connection, or from the answer before, to the whole head
    stalled_s = 60.0  # for a client that does not read its answer
    most_connections = MOST_CONNECTIONS
    most_of_address = MOST_CONNECTIONS

    waiting_since: int | None = None  # a number that grows; None = it is being answered
    _patience: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Waits for a head from now on; the longest waiting connection gives way where there are
        too many.
        """
        self._lingering = _Lingering(transport, self)
        super().connection_made(self._lingering)  # type: ignore[arg-type]
        if len(self.connections) > self.most_connections:
            _longest_waiting(self.connections, self).abort()
        elif len(theirs := _of_address(self)) > self.most_of_address:
            _longest_waiting(theirs, self).abort()
        if not transport.is_closing():
            self._watch()

    def data_received(self, data: bytes) -> None:
        """What came may have completed what is waited for."""
        if self._lingering.lingers:
            return
        if self.conn.their_state is h11.IDLE and len(data) > _PIECE:
            # h11 bounds a head that is not whole: so one that came at once must not be whole before
            # it is too long.
            room = MOST_HEAD_BYTES + 1 - len(self.conn.trailing_data[0])
            super().data_received(data[:room])
            data = b"" if self.transport.is_closing() else data[room:]
        if data:
            super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """The next head is waited for, or the rest of a body that nobody read."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        super().connection_lost(exc)
        self._wait_no_more()
        self.resume_writing()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(self.stalled_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def abort(self) -> None:
        """Closes at once; the event loop tells `connection_lost` a moment later, and it no longer
        counts by then.
        """
        self._wait_no_more()
        self.connections.discard(self)
        self.transport.abort()

    def _watch(self) -> None:
        """The time runs while a head is not whole, or a body goes on that nobody reads since its
        answer is out.
        """
        theirs = self.conn.their_state
        unread = theirs is h11.SEND_BODY and self.conn.our_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)
        if theirs is not h11.IDLE and not unread:
            self._wait_no_more()
        else:
            self.wait()

    def wait(self) -> None:
        """The time runs from now, where it does not run already."""
        if self._patience is None:
            self.waiting_since = next(_turns)
            self._patience = self.loop.call_later(self.head_s, self.abort)

    def _wait_no_more(self) -> None:
        self.waiting_since = None
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


def _of_address(newcomer: BoundedProtocol) -> list[Any]:
    """The connections of the address that a newcomer comes from."""
    address = newcomer.client and newcomer.client[0]
    among = [one for one in newcomer.connections if isinstance(one, BoundedProtocol)]
    return [one for one in among if one.client and one.client[0] == address]


def _longest_waiting(among: Iterable[Any], newcomer: BoundedProtocol) -> BoundedProtocol:
    """Whom a newcomer takes the place of; itself where every other connection is being answered."""
    waiting = [
        (one.waiting_since, one) for one in among if isinstance(one, BoundedProtocol) and one.waiting_since is not None
    ]
    return min(waiting)[1] if waiting else newcomer


def keep_loaded() -> None:
    """Let the garbage collector pass over what is loaded by now, for good: libraries are half a
    million objects, and a look at them all would make somebody wait for a page. It looks over what
    is new once in a batch of decisions, and not every few rows of it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_BEFORE_A_COLLECTION)


def server_config(
    app: Any, *, protocol: type[BoundedProtocol] = BoundedProtocol, address_connections: int | None = None
) -> uvicorn.Config:
    """What the API and the gateway serve with; `address_connections`: how many of one address.
    `protocol`: one of other bounds, for tests.
    """
    if address_connections is not None:
        protocol = type("BoundedProtocol", (protocol,), {"most_of_address": address_connections})
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files // 2 < protocol.most_connections:
        protocol = type("BoundedProtocol", (protocol,), {"most_connections": files // 2})
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        h11_max_incomplete_event_size=MOST_HEAD_BYTES,
        log_config=None,  # its lines go where ours go, and are masked as ours are
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=20,
    )

"""An event loop in a thread of its own: what gives blocking calls a deadline that holds.

The timeout of a blocking socket begins anew with every byte that comes, so a server that sends the
head of its answer one byte a second holds a blocking call for as long as it likes. On an event loop
the whole request is cancelled when its time is up, wherever it stands. The thread starts with the
first call. Closing gives up what is under way: a loop that stops never resolves the calls that wait
for it.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from knowgate.errors import BackendFailed, Failure

LET_GO_S = 5.0  # what a request that is given up may take to close its connection

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for threads that wait for them. Shared between threads; a forked child starts
    a loop anew.
    """

    def __init__(self, *, let_go_s: float = LET_GO_S) -> None:
        self._let_go_s = let_go_s
        self._lock = threading.Lock()
        self._running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None
        self._waited_for: set[Future[Any]] = set()
        self._process = os.getpid()

    def run(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the coroutine that `make` gives returns, or raises; BackendFailed where it is closed
        meanwhile.
        """
        with self._lock:  # handed over under the lock, so that closing finds it
            future = asyncio.run_coroutine_threadsafe(make(), self._loop())
            self._waited_for.add(future)
        try:
            return future.result()
        except CancelledError:
            raise BackendFailed("the back-end was closed while it was asked", Failure.UNREACHABLE) from None
        except BaseException:  # whoever waited was interrupted: nobody waits for the rest
            future.cancel()
            raise
        finally:
            with self._lock:
                self._waited_for.discard(future)

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Gives up what is under way and runs `last`, where a loop was ever started; the next `run`
        starts another.
        """
        with self._lock:
            if self._running is None or self._process != os.getpid():
                return
            (loop, thread), self._running = self._running, None
            given_up = tuple(self._waited_for)
        try:
            asyncio.run_coroutine_threadsafe(_give_up_all_and(last, self._let_go_s), loop).result()
        finally:
            for future in given_up:  # of a request that does not let go: nobody shall wait for it
                future.cancel()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _loop(self) -> asyncio.AbstractEventLoop:
        """The loop, started where there is none; called with the lock held."""
        if self._running is None or self._process != os.getpid():
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="knowgate-backend", daemon=True)
            thread.start()
            self._running, self._process = (loop, thread), os.getpid()
            self._waited_for.clear()  # a parent's
        return self._running[0]


async def _give_up_all_and(last: Callable[[], Coroutine[Any, Any, None]], let_go_s: float) -> None:
    under_way = asyncio.all_tasks() - {asyncio.current_task()}
    for task in under_way:
        task.cancel()
    if under_way:
        await asyncio.wait(under_way, timeout=let_go_s)
    await last()

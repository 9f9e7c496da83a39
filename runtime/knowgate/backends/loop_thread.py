"""An event loop in a thread of its own: what gives blocking calls a deadline that holds.

The timeout of a blocking socket begins anew with every byte that comes, so a server that sends the head of its answer
one byte a second holds a blocking call for as long as it likes. On an event loop the whole request is cancelled when
its time is up, wherever it stands. The thread starts with the first call.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for threads that wait for them. Shared between threads; a forked child starts a loop anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None
        self._process = os.getpid()

    def run(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the coroutine that `make` gives returns, or raises."""
        future = asyncio.run_coroutine_threadsafe(make(), self._loop())
        try:
            return future.result()
        except BaseException:  # whoever waited was interrupted: nobody waits for the rest
            future.cancel()
            raise

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs `last` where a loop was ever started, and ends it; the next `run` starts another one."""
        if self._held is None or self._process != os.getpid():
            return
        self.run(last)
        with self._lock:
            held, self._held = self._held, None
        if held is not None:
            loop, thread = held
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._held is None or self._process != os.getpid():
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=loop.run_forever, name="knowgate-backend", daemon=True)
                thread.start()
                self._held, self._process = (loop, thread), os.getpid()
            return self._held[0]

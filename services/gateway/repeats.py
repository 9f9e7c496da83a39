"""One answer for a request that is sent again.

A client whose connection broke, or whose user pressed twice, sends the same request once more, and
is given the same answer: the one that is under way, or that was given a few minutes ago. So one
question is one decision, and its label finds it. What failed is forgotten, and asked anew.

Work that several callers wait for ends when the last of them leaves. What is remembered is this
process's own, and gone at its end.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from services.errors import ServicesError

T = TypeVar("T")

WITHIN_S = 600.0
MOST = 4096  # answers that are remembered


class OtherRequest(ServicesError):
    """The key was given with another request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What two requests have in common that are one."""

    kind: str  # who named it: a header, or the external id
    name: str
    request: str  # digest of what is asked


@dataclass(slots=True, kw_only=True)
class _Remembered(Generic[T]):
    request: str
    until: float  # of the clock
    task: asyncio.Future[T]
    waiting: int = 0


class Repeats(Generic[T]):
    """The answers of the last minutes by their keys; of one event loop."""

    def __init__(
        self, *, within_s: float = WITHIN_S, most: int = MOST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._within_s = within_s
        self._most = most
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], _Remembered[T]] = OrderedDict()

    async def once(self, key: Key, work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, bool]:
        """What `work` gives, or gave to the same request; and whether it did before.

        Raises OtherRequest where the key stands for another request, and what `work` raises.
        """
        known = self._find(key)
        repeated = known is not None
        if known is None:
            known = self._put(key, asyncio.ensure_future(work()))
        return await self._wait((key.kind, key.name), known), repeated

    def knows(self, key: Key) -> bool:
        """Whether `once` has an answer to this request, or is about to. Raises OtherRequest."""
        return self._find(key) is not None

    def remember(self, key: Key, given: T) -> None:
        """Remembers an answer that came without `once`, such as a stream that has ended."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        done.set_result(given)
        self._put(key, done)

    def _find(self, key: Key) -> _Remembered[T] | None:
        known = self._known.get((key.kind, key.name))
        if known is None or (known.until <= self._clock() and known.task.done()):
            return None
        if known.request != key.request:
            raise OtherRequest(f"{key.kind} {key.name!r} was given with another request")
        return known

    def _put(self, key: Key, task: "asyncio.Future[T]") -> _Remembered[T]:
        now = self._clock()
        known = _Remembered(request=key.request, until=now + self._within_s, task=task)
        self._known[key.kind, key.name] = known
        self._known.move_to_end((key.kind, key.name))
        self._forget(now)
        return known

    async def _wait(self, place: tuple[str, str], known: _Remembered[T]) -> T:
        known.waiting += 1
        try:
            return await asyncio.shield(known.task)
        except asyncio.CancelledError:
            if known.waiting == 1 and not known.task.done():  # the last of those who wait has left
                known.task.cancel()
                await asyncio.gather(known.task, return_exceptions=True)
            raise
        finally:
            known.waiting -= 1
            failed = known.task.done() and (known.task.cancelled() or known.task.exception() is not None)
            if failed and self._known.get(place) is known:
                del self._known[place]

    def _forget(self, now: float) -> None:
        """Lets go of what is too old, and of the oldest where there are too many."""
        for place, known in list(self._known.items()):
            if not known.task.done():
                continue
            if known.until > now and len(self._known) <= self._most:
                break
            del self._known[place]

"""Leaves a back-end alone that keeps failing: queries then escalate at once instead of waiting for
it one by one.

After `open_after` failures in a row the circuit opens; a query counts once, however often it was
tried. Once `open_for_s` have passed, one query at a time may try again; the first success closes
it. A request that the server refused is an answer, not a failure, and one that cannot be sent is
neither.

Some failures may be those of one request: a prompt that breaks the server, or that it never ends.
Its sender repeats it, and nobody else should pay for that. So such failures count once for each
prompt: `open_after` different ones open the circuit, one of them never does.
"""

import threading
import time
from collections.abc import Callable, Hashable


class Circuit:
    """The state of one back-end; safe to share between threads.

    >>> circuit = Circuit(open_after=1, open_for_s=10.0)
    >>> circuit.failed()
    >>> circuit.admits()
    False
    """

    def __init__(self, *, open_after: int, open_for_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._open_after = open_after
        self._open_for_s = open_for_s
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0  # in a row, that are no one request's
        self._prompts: set[Hashable] = set()  # whose requests failed meanwhile
        self._next_try: float | None = None  # None = closed

    @property
    def is_open(self) -> bool:
        """Whether the back-end is left alone at the moment."""
        return self._next_try is not None and self._clock() < self._next_try

    def admits(self) -> bool:
        """Whether to ask now; a True of an open circuit is the one try until `open_for_s` later."""
        with self._lock:
            if self._next_try is None:
                return True
            now = self._clock()
            if now < self._next_try:
                return False
            self._next_try = now + self._open_for_s
            return True

    def succeeded(self) -> None:
        """The back-end answered."""
        with self._lock:
            self._failures = 0
            self._prompts.clear()
            self._next_try = None

    def failed(self, *, of: Hashable = None) -> None:
        """The back-end did not answer a query, or with what cannot be used.

        `of` stands for the prompt where the request itself may be to blame; None = it is not.
        """
        with self._lock:
            if of is None:
                self._failures += 1
            elif self._next_try is None:  # no more of them than open it are remembered
                self._prompts.add(of)
            if self._next_try is not None or self._failures + len(self._prompts) >= self._open_after:
                self._next_try = self._clock() + self._open_for_s

"""How often somebody may ask: so that one program gone wrong, or a stranger who guesses, does not
keep this process from everybody else.

Each key (a token, an address) has an allowance that fills at a rate and holds ten seconds' worth.
It is this process's own: several processes allow several times as much.
"""

import threading
import time
from collections.abc import Callable, Hashable

from services.http.errors import ApiError

SECONDS_WORTH = 10.0
MOST_KEYS = 10_000  # that are remembered: a crowd of addresses must not fill the memory


class Rates:
    """The allowances of many keys, at one rate (per second)."""

    def __init__(self, rate: float, *, most_keys: int = MOST_KEYS, tick: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._most = rate * SECONDS_WORTH
        self._most_keys = most_keys
        self._tick = tick
        self._left: dict[Hashable, tuple[float, float]] = {}  # what was left, and when
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._left)

    def take(self, key: Hashable) -> bool:
        """Take one of the key's allowance; False where none is left."""
        with self._lock:
            left = self._now(key)
            if left < 1.0:
                return False
            self._put(key, left - 1.0)
            return True

    def has(self, key: Hashable) -> bool:
        """Whether any is left."""
        with self._lock:
            return self._now(key) >= 1.0

    def _now(self, key: Hashable) -> float:
        left, at = self._left.get(key, (self._most, self._tick()))
        return min(self._most, left + (self._tick() - at) * self._rate)

    def _put(self, key: Hashable, left: float) -> None:
        if key not in self._left and len(self._left) >= self._most_keys:
            self._left = {key: kept for key, kept in self._left.items() if self._now(key) < self._most}
            if len(self._left) >= self._most_keys:
                self._left.clear()
        self._left[key] = (left, self._tick())


def too_often(field: str, value: str, cure: str) -> ApiError:
    """429, which the runtime's client waits out."""
    return ApiError(429, field=field, value=value, cure=cure, headers={"Retry-After": "1"})

"""How far an extraction is: prompts done, the rate, and the time left, on stderr.

The time left is reckoned in tokens, since the longest prompts come first and the last ones are
quick. On a terminal one line is rewritten; in a log a line comes every ten seconds and at the end.
"""

import time
from collections.abc import Callable
from typing import TextIO

_ON_TERMINAL_S, _IN_LOG_S = 0.5, 10.0


class Progress:
    """Hears of every batch; writes now and then. `before` of the prompts were done by an earlier
    run.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        prompts: int,
        tokens: int,
        before: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._prompts, self._tokens, self._before = prompts, tokens, before
        self._done_prompts = self._done_tokens = 0
        self._clock = clock
        self._began = self._written = clock()
        self._terminal = stream.isatty()

    def add(self, prompts: int, tokens: int) -> None:
        """A batch of so many prompts and tokens is done."""
        self._done_prompts += prompts
        self._done_tokens += tokens
        now = self._clock()
        every = _ON_TERMINAL_S if self._terminal else _IN_LOG_S
        if now - self._written >= every or self._done_prompts == self._prompts:
            self._written = now
            self._write(max(now - self._began, 1e-9))

    def _write(self, spent_s: float) -> None:
        left_s = (self._tokens - self._done_tokens) * spent_s / self._done_tokens
        done, total = self._before + self._done_prompts, self._before + self._prompts
        line = (
            f"{done}/{total} prompts, {self._done_prompts / spent_s:.1f} prompts/s, "
            f"{self._done_tokens / spent_s:.0f} tokens/s, {_duration(left_s)} left"
        )
        last = self._done_prompts == self._prompts
        self._stream.write(f"\r{line}\033[K" + ("\n" if last else "") if self._terminal else f"{line}\n")
        self._stream.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

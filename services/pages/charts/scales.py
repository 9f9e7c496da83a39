"""From values to places, and which places get a mark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from knowgate._records.records import Window

HEIGHT = 150  # pixels of the area that lines are drawn in
_EQUAL = 1e-9  # of values, or of 1 if they are smaller: means of equal values may differ by as little


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A straight one."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


def across(low: float, high: float) -> Scale:
    """Percents of the width; of two equal ends, an hour (or 1) around them."""
    if low >= high:
        low, high = low - 1.0, low + 1.0
    return Scale(low=low, high=high, start=0.0, end=100.0)


def of_time(window: Window) -> Scale:
    """The same of times, in seconds."""
    return across(window.start.timestamp(), window.end.timestamp())


def upward(values: Sequence[float], *, height: int = HEIGHT, most: float | None = None) -> tuple[Scale, list[float]]:
    """Pixels from the top for these values (at least one), and the round ones that get a mark.
    `most`: no mark above it, as nothing is above 100 %.
    """
    ticks = nice_ticks(min(values), max(values))
    if most is not None:
        ticks = [tick for tick in ticks if tick <= most + 1e-9] or ticks
        ticks = [*ticks, most] if ticks[-1] < max(values) else ticks
    return Scale(low=ticks[0], high=ticks[-1], start=float(height), end=6.0), ticks


def nice_ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers that enclose [low, high]; ends that rounding alone tells apart are one.

    >>> nice_ticks(0.0, 0.3)
    [0.0, 0.1, 0.2, 0.3]
    >>> nice_ticks(0.3, 0.3 + 1e-16) == nice_ticks(0.3, 0.3)
    True
    """
    if high - low <= _EQUAL * max(1.0, abs(low), abs(high)):
        pad = abs(low) * 0.1 or 0.05
        low, high = low - pad, high + pad
    raw = (high - low) / wanted
    size = 10 ** math.floor(math.log10(raw))
    step = next(factor * size for factor in (1, 2, 2.5, 5, 10) if factor * size >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def time_ticks(window: Window) -> tuple[Tick, ...]:
    """Round times of the window: hours, days, weeks or months, at most eight."""
    scale, length = of_time(window), window.end - window.start
    step = next((step for step in _STEPS if length / step <= 8), _STEPS[-1])
    pattern = "%H:%M" if step < timedelta(days=1) else "%-d %b" if length < timedelta(days=200) else "%b %Y"
    first = datetime.fromtimestamp(0, UTC) + timedelta(days=4)  # a Monday
    number = math.ceil((window.start - first) / step)
    ticks = []
    while (at := first + number * step) <= window.end:
        place = scale(at.timestamp())
        if 3.0 <= place <= 97.0:
            ticks.append(Tick(at=place, text=f"{at:{pattern}}"))
        number += 1
    return tuple(ticks)


_STEPS = tuple(timedelta(hours=hours) for hours in (1, 3, 6, 24, 48, 7 * 24, 14 * 24, 28 * 24, 56 * 24, 112 * 24))

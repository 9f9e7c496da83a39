"""Counts per day as upright bars, one colour per name, stacked: the geometry, which the template
draws as SVG.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from services.pages.charts.chart import TONES
from services.pages.charts.scales import Tick, nice_ticks
from services.pages.numbers import count

WIDTH, HEIGHT = 720, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 24
GAP = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One name's part of one day."""

    x: float
    y: float
    width: float
    height: float
    tone: int
    tooltip: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DayBars:
    """Bars ready to be drawn."""

    names: tuple[tuple[str, int], ...]  # with their colours
    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT


def day_bars(counts: Mapping[tuple[date, str], int], *, first: date, last: date) -> DayBars | None:
    """The bars of these counts by day and name; a day without one is an empty place. None where
    there is none at all.
    """
    if not counts:
        return None
    names = sorted({name for _, name in counts})
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    most = max(sum(counts.get((day, name), 0) for name in names) for day in days)
    ticks = [tick for tick in nice_ticks(0.0, float(most)) if tick == int(tick)] or [0.0, float(most)]
    each = (WIDTH - RIGHT - LEFT) / len(days)
    bars: list[Bar] = []
    for number, day in enumerate(days):
        bars += _of_day(day, [(name, counts.get((day, name), 0)) for name in names], LEFT + number * each, each, ticks)
    shown = (0, len(days) // 2, len(days) - 1) if len(days) > 2 else tuple(range(len(days)))
    return DayBars(
        names=tuple((name, tone % TONES) for tone, name in enumerate(names)),
        bars=tuple(bars),
        x_ticks=tuple(Tick(at=round(LEFT + (at + 0.5) * each, 2), text=f"{days[at]:%d %b}") for at in shown),
        y_ticks=tuple(Tick(at=_y(tick, ticks), text=count(tick)) for tick in ticks),
    )


def _of_day(
    day: date, counts: Sequence[tuple[str, int]], x: float, each: float, ticks: Sequence[float]
) -> Sequence[Bar]:
    below, bars = 0, []
    for tone, (name, number) in enumerate(counts):
        if number:
            top, bottom = _y(below + number, ticks), _y(below, ticks)
            below += number
            bars.append(
                Bar(
                    x=round(x + GAP / 2, 2),
                    y=top,
                    width=round(max(1.0, each - GAP), 2),
                    height=round(bottom - top, 2),
                    tone=tone % TONES,
                    tooltip=f"{day:%d %b}: {count(number)} of {name}",
                )
            )
    return bars


def _y(value: float, ticks: Sequence[float]) -> float:
    return round(HEIGHT - BOTTOM - value / ticks[-1] * (HEIGHT - BOTTOM - TOP), 2)

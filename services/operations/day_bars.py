"""Counts per day as upright bars, one colour per name, stacked: the geometry, which the template
draws as SVG. Across, places are percents; down, pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from services.pages.charts.chart import TONES
from services.pages.charts.scales import HEIGHT, Scale, Tick, upward
from services.pages.numbers import count

GAP = 0.1  # of a day's width


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
    height: int = HEIGHT


def day_bars(counts: Mapping[tuple[date, str], int], *, first: date, last: date) -> DayBars | None:
    """The bars of these counts by day and name; a day without one is an empty place. None where
    there is none at all.
    """
    if not counts:
        return None
    names = sorted({name for _, name in counts})
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    most = max(sum(counts.get((day, name), 0) for name in names) for day in days)
    y, ticks = upward([0.0, float(most)])
    each = 100.0 / len(days)
    bars: list[Bar] = []
    for number, day in enumerate(days):
        bars += _of_day(day, [(name, counts.get((day, name), 0)) for name in names], number * each, each, y)
    shown = (0, len(days) // 2, len(days) - 1) if len(days) > 2 else tuple(range(len(days)))
    return DayBars(
        names=tuple((name, tone % TONES) for tone, name in enumerate(names)),
        bars=tuple(bars),
        x_ticks=tuple(Tick(at=round((at + 0.5) * each, 2), text=f"{days[at]:%-d %b}") for at in shown),
        y_ticks=tuple(Tick(at=y(tick), text=count(tick)) for tick in ticks if tick == int(tick)),
    )


def _of_day(day: date, counts: Sequence[tuple[str, int]], x: float, each: float, y: Scale) -> Sequence[Bar]:
    below, bars = 0, []
    for tone, (name, number) in enumerate(counts):
        if number:
            top, bottom = y(below + number), y(below)
            below += number
            bars.append(
                Bar(
                    x=round(x + each * GAP / 2, 2),
                    y=top,
                    width=round(each * (1 - GAP), 2),
                    height=round(bottom - top, 2),
                    tone=tone % TONES,
                    tooltip=f"{day:%-d %b}: {count(number)} of {name}",
                )
            )
    return bars

"""A figure over time as a line chart: the geometry, which the template draws as SVG.

What is mature is drawn solid with its interval; what may still move is drawn lighter. A window
without a value leaves a gap: a line drawn over it would be a figure nobody measured.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.pages.numbers import tell
from services.pages.numbers import tick as tick_text
from store.watching.figures import FigureRow

WIDTH, HEIGHT = 460, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 24
TONES = 4  # colours of the style sheet
POINTS = 400  # more windows than this are thinned to the newest


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One window's value at its place."""

    x: float
    y: float
    tooltip: str  # what a pointer that rests on it reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line: unbroken stretches as SVG paths, a band between its bounds, and its points."""

    name: str
    tone: int  # which of the style sheet's colours
    lines: tuple[str, ...]
    faint: tuple[str, ...]  # stretches that are not mature yet
    band: tuple[str, ...]
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart ready to be drawn."""

    title: str
    series: tuple[Series, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    zero: float | None  # the y of 0, where it lies inside
    marks: tuple[Tick, ...]  # promotions
    legend: bool  # whether the title leaves open which lines these are
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


def chart(
    title: str,
    rows_by_name: Mapping[str, Sequence[FigureRow]],
    promoted_at: Sequence[datetime] = (),
    *,
    legend: bool = False,
) -> Chart | None:
    """The chart of a few figures; None where none has a value yet."""
    kept = {name: _newest_windows(rows) for name, rows in rows_by_name.items()}
    known = [row for rows in kept.values() for row in rows if row.value is not None]
    if not known:
        return None
    x = _time_scale(known)
    values = [bound for row in known for bound in (row.value, row.low, row.high) if bound is not None]
    ticks = nice_ticks(min(values), max(values))
    y = _Scale(low=ticks[0], high=ticks[-1], start=HEIGHT - BOTTOM, end=TOP)
    marks = [when for when in promoted_at if x.low <= when.timestamp() <= x.high]
    return Chart(
        title=title,
        series=tuple(_series(name, tone % TONES, rows, x, y) for tone, (name, rows) in enumerate(kept.items())),
        x_ticks=_x_ticks(x),
        y_ticks=tuple(Tick(at=y(tick), text=tick_text(next(iter(kept)), tick)) for tick in ticks),
        zero=y(0.0) if ticks[0] < 0 < ticks[-1] else None,
        legend=legend,
        marks=tuple(Tick(at=x(when.timestamp()), text=f"promotion {when:%d %b %H:%M}") for when in marks),
    )


def nice_ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers that enclose [low, high].

    >>> nice_ticks(0.0, 0.3)
    [0.0, 0.1, 0.2, 0.3]
    """
    if high <= low:
        pad = abs(low) * 0.1 or 0.05
        low, high = low - pad, high + pad
    raw = (high - low) / wanted
    size = 10 ** math.floor(math.log10(raw))
    step = next(factor * size for factor in (1, 2, 2.5, 5, 10) if factor * size >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _newest_windows(rows: Sequence[FigureRow]) -> list[FigureRow]:
    """One row per window: the mature one where there are both."""
    chosen: dict[datetime, FigureRow] = {}
    for row in rows:
        if row.window.end not in chosen or row.mature:
            chosen[row.window.end] = row
    return [chosen[end] for end in sorted(chosen)][-POINTS:]


def _time_scale(rows: Sequence[FigureRow]) -> _Scale:
    times = [row.window.end.timestamp() for row in rows]
    low, high = min(times), max(times)
    if low == high:
        low, high = low - 1800, high + 1800
    return _Scale(low=low, high=high, start=LEFT, end=WIDTH - RIGHT)


def _series(name: str, tone: int, rows: Sequence[FigureRow], x: _Scale, y: _Scale) -> Series:
    stretches = _stretches(rows)
    return Series(
        name=name.rpartition(".")[2].replace("_", " "),
        tone=tone,
        lines=tuple(_path(part, x, y) for part in stretches if part[-1].mature),
        faint=tuple(_path(part, x, y) for part in stretches if not part[-1].mature),
        band=tuple(path for part in stretches if (path := _band(part, x, y))),
        points=tuple(
            Point(x=x(row.window.end.timestamp()), y=y(row.value), tooltip=_tooltip(row))
            for row in rows
            if row.value is not None
        ),
    )


def _stretches(rows: Sequence[FigureRow]) -> list[list[FigureRow]]:
    """Unbroken runs of values of one maturity; a run that follows another begins at its
    last point.
    """
    runs: list[list[FigureRow]] = []
    last: FigureRow | None = None
    for row in rows:
        if row.value is None:
            last = None
            continue
        if last is not None and last.mature == row.mature:
            runs[-1].append(row)
        else:
            runs.append([row] if last is None else [last, row])
        last = row
    return runs


def _path(rows: Sequence[FigureRow], x: _Scale, y: _Scale) -> str:
    return "M" + "L".join(f"{x(row.window.end.timestamp())} {y(row.value or 0.0)}" for row in rows)


def _band(rows: Sequence[FigureRow], x: _Scale, y: _Scale) -> str:
    bounded = [row for row in rows if row.low is not None and row.high is not None]
    if len(bounded) < 2:
        return ""
    up = [f"{x(row.window.end.timestamp())} {y(row.high or 0.0)}" for row in bounded]
    down = [f"{x(row.window.end.timestamp())} {y(row.low or 0.0)}" for row in reversed(bounded)]
    return "M" + "L".join(up + down) + "Z"


def _tooltip(row: FigureRow) -> str:
    text = f"{row.name.replace('_', ' ')} {tell(row.name, row.value or 0.0)}"
    if row.low is not None and row.high is not None:
        text += f" ({tell(row.name, row.low)} to {tell(row.name, row.high)})"
    state = "mature" if row.mature else "not mature yet"
    return f"{text}, n = {row.n}, {row.window.start:%d %b %H:%M} to {row.window.end:%d %b %H:%M} UTC, {state}"


def _x_ticks(x: _Scale) -> tuple[Tick, ...]:
    times = [datetime.fromtimestamp(x.low + share * (x.high - x.low), UTC) for share in (0.0, 0.5, 1.0)]
    pattern = "%d %b" if x.high - x.low > 3 * 86400 else "%d %b %H:%M"
    return tuple(Tick(at=x(time.timestamp()), text=f"{time:{pattern}}") for time in times)

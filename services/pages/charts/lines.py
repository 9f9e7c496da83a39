"""Figures over time as lines, or as layers of a stack.

What is mature is drawn solid with its interval; what may still move is drawn lighter. A window
without a value leaves a gap: a line drawn over it would be a figure nobody measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from knowgate._records.records import Window
from services.pages.charts.chart import TONES, Chart, Dot, Mark, Row, Rule, Series
from services.pages.charts.scales import HEIGHT, Scale, Tick, of_time, time_ticks, upward
from services.pages.numbers import between, is_share, tell, tick, unit
from store.watching.figures import FigureRow

DOTTED = 40  # more values than this make a line without dots


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One figure at one place of time."""

    at: datetime
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    mature: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What charts of one page share: the time across, and what happened in it."""

    window: Window
    marks: tuple[Mark, ...] = ()
    axis: str = "time"


Lines = Mapping[str, Sequence[Value]]  # by figure; all of one unit


def values_of(rows: Sequence[FigureRow]) -> tuple[Value, ...]:
    """Rows of one figure as values, one per window: the mature one where there are both."""
    chosen: dict[datetime, FigureRow] = {}
    for row in rows:
        if row.window.end not in chosen or row.mature:
            chosen[row.window.end] = row
    return tuple(
        Value(at=end, value=row.value, low=row.low, high=row.high, n=row.n, mature=row.mature)
        for end, row in sorted(chosen.items())
    )


def frame_of(lines: Lines, marks: Sequence[tuple[datetime, str, str]] = ()) -> Frame | None:
    """The frame that all these values fit in, with (time, kind, text) as marks; None without any
    value.
    """
    times = [one.at for values in lines.values() for one in values if one.value is not None]
    if not times:
        return None
    room = timedelta(minutes=30) if min(times) == max(times) else timedelta()
    window = Window(start=min(times) - room, end=max(times) + room)
    return Frame(window=window, marks=marks_in(window, marks))


def marks_in(window: Window, marks: Sequence[tuple[datetime, str, str]]) -> tuple[Mark, ...]:
    """Those of the window, at their places."""
    x = of_time(window)
    inside = (one for one in marks if window.start <= one[0] <= window.end)
    return tuple(Mark(at=x(at.timestamp()), kind=kind, text=text) for at, kind, text in inside)


def chart(
    title: str,
    lines: Lines,
    frame: Frame | None,
    *,
    names: Mapping[str, str] | None = None,
    rules: Sequence[tuple[float, str]] = (),
) -> Chart | None:
    """The chart of figures of one unit; None where none has a value yet. `names` are what each line
    is called, `rules` lines right across, each with its words.
    """
    known = [one for values in lines.values() for one in values if one.value is not None]
    if not known or frame is None:
        return None
    first = next(iter(lines))
    bounds = [bound for one in known for bound in (one.value, one.low, one.high) if bound is not None]
    y, ticks = upward([*bounds, *(value for value, _ in rules)], most=1.0 if is_share(first) else None)
    x = of_time(frame.window)
    called = {name: (names or {}).get(name, name.rpartition(".")[2].replace("_", " ")) for name in lines}
    return Chart(
        title=title,
        symbol=(", ".join(lines) if len(lines) <= 2 else first.partition(".")[0]) + unit(first),
        series=tuple(
            _line(name, called[name], place % TONES, values, x, y) for place, (name, values) in enumerate(lines.items())
        ),
        x_ticks=time_ticks(frame.window),
        y_ticks=tuple(Tick(at=y(mark), text=tick(first, mark)) for mark in ticks),
        zero=y(0.0) if ticks[0] < 0 < ticks[-1] else None,
        marks=frame.marks,
        rules=tuple(Rule(y=y(value), text=text) for value, text in rules),
        columns=("Time (UTC)", *called.values()),
        rows=_rows(lines, x),
        axis=frame.axis,
    )


def stack(title: str, lines: Lines, frame: Frame, *, names: Mapping[str, str]) -> Chart | None:
    """Shares laid one upon the other, the first at the bottom; None where none has a value."""
    lines = {name: values for name, values in lines.items() if any(one.value for one in values)}
    times = sorted({one.at for values in lines.values() for one in values if one.value is not None})
    if not times:
        return None
    by_time = {name: {one.at: one.value or 0.0 for one in values} for name, values in lines.items()}
    x, y = of_time(frame.window), Scale(low=0.0, high=1.0, start=float(HEIGHT), end=6.0)
    below, series = [0.0] * len(times), []
    for place, name in enumerate(lines):
        above = [low + by_time[name].get(at, 0.0) for low, at in zip(below, times, strict=True)]
        up = [f"{10 * x(at.timestamp()):.1f} {y(min(top, 1.0))}" for at, top in zip(times, above, strict=True)]
        down = [f"{10 * x(at.timestamp()):.1f} {y(min(low, 1.0))}" for at, low in zip(times, below, strict=True)]
        path = "M" + "L".join(up + down[::-1]) + "Z"
        series.append(Series(name=names.get(name, name), tone=place % TONES, band=(path,), filled=True))
        below = above
    return Chart(
        title=title,
        symbol=next(iter(lines)).partition(".")[0],
        series=tuple(series),
        x_ticks=time_ticks(frame.window),
        y_ticks=tuple(Tick(at=y(mark), text=tick("share", mark)) for mark in (0.0, 0.25, 0.5, 0.75, 1.0)),
        marks=frame.marks,
        columns=("Time (UTC)", *(one.name for one in series)),
        rows=_rows(lines, x),
        axis=frame.axis,
    )


def spark(name: str, values: Sequence[Value], title: str) -> Chart | None:
    """A small chart of one figure, without axes."""
    return chart(title, {name: values}, frame_of({name: values}))


def _line(name: str, called: str, tone: int, values: Sequence[Value], x: Scale, y: Scale) -> Series:
    stretches = _stretches(values)
    known = [one for one in values if one.value is not None]
    return Series(
        name=called,
        tone=tone,
        lines=tuple(_path(part, x, y) for part in stretches if part[-1].mature),
        faint=tuple(_path(part, x, y) for part in stretches if not part[-1].mature),
        band=tuple(path for part in stretches if (path := _band(part, x, y))),
        dots=tuple(_dot(name, one, x, y) for one in known) if len(known) <= DOTTED else (),
    )


def _stretches(values: Sequence[Value]) -> list[list[Value]]:
    """Unbroken runs of values of one maturity; a run that follows another begins at its
    last point.
    """
    runs: list[list[Value]] = []
    last: Value | None = None
    for one in values:
        if one.value is None:
            last = None
            continue
        if last is not None and last.mature == one.mature:
            runs[-1].append(one)
        else:
            runs.append([one] if last is None else [last, one])
        last = one
    return runs


def _path(values: Sequence[Value], x: Scale, y: Scale) -> str:
    return "M" + "L".join(f"{10 * x(one.at.timestamp()):.1f} {y(one.value or 0.0)}" for one in values)


def _band(values: Sequence[Value], x: Scale, y: Scale) -> str:
    bounded = [one for one in values if one.low is not None and one.high is not None]
    if len(bounded) < 2:
        return ""
    up = [f"{10 * x(one.at.timestamp()):.1f} {y(one.high or 0.0)}" for one in bounded]
    down = [f"{10 * x(one.at.timestamp()):.1f} {y(one.low or 0.0)}" for one in reversed(bounded)]
    return "M" + "L".join(up + down) + "Z"


def _dot(name: str, one: Value, x: Scale, y: Scale) -> Dot:
    assert one.value is not None
    return Dot(x=x(one.at.timestamp()), y=y(one.value), text=f"{_cell(name, one)}, {one.at:%-d %b %H:%M} UTC")


def _cell(name: str, one: Value | None) -> str:
    if one is None or one.value is None:
        return "–"
    interval = between(name, one.low, one.high)
    return tell(name, one.value) + (f" ({interval})" if interval else "") + ("" if one.mature else ", not mature yet")


def _rows(lines: Lines, x: Scale) -> tuple[Row, ...]:
    by_time = {name: {one.at: one for one in values} for name, values in lines.items()}
    times = sorted({at for values in by_time.values() for at in values})
    return tuple(
        Row(
            x=x(at.timestamp()),
            cells=(f"{at:%-d %b %H:%M}", *(_cell(name, by_time[name].get(at)) for name in lines)),
        )
        for at in times
    )

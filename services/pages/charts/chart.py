"""A chart ready to be drawn, and the table that says the same in words: for who reads with a screen
reader, for print, and for the line under the pointer.
"""

from dataclasses import dataclass

from services.pages.charts.scales import HEIGHT, Tick

TONES = 6  # colours of the style sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One value at its place."""

    x: float
    y: float
    text: str  # what a pointer that rests on it reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line: unbroken stretches as SVG paths, a band between its bounds, and dots."""

    name: str
    tone: int  # which of the style sheet's colours
    lines: tuple[str, ...] = ()
    faint: tuple[str, ...] = ()  # stretches that are not mature yet
    band: tuple[str, ...] = ()
    filled: bool = False  # the band is the thing itself, a layer of a stack
    dots: tuple[Dot, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """An event on the axis of time, or a place on another one."""

    at: float
    kind: str  # promotion, stop, alert, declaration, place …
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A line right across: the promise, or a threshold."""

    y: float
    text: str
    kind: str = "promise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table behind: where it is across, and its cells, the first of which names it."""

    x: float
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart ready to be drawn."""

    title: str
    symbol: str  # the figure's name in docs, SQL and API; "" for none
    series: tuple[Series, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    axis: str = ""  # charts of one name are read together under the pointer
    zero: float | None = None  # the y of 0, where it lies inside
    marks: tuple[Mark, ...] = ()
    rules: tuple[Rule, ...] = ()
    below: str = ""  # what is across, where it is not time
    note: str = ""
    height: int = HEIGHT

    @property
    def legend(self) -> bool:
        """Whether the title leaves open which lines these are."""
        return len(self.series) > 1

"""The first page: every cascade in one line."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from services.api.cascades import summary_of
from services.api.wire import CascadeSummary
from services.pages.charts import Chart, chart
from services.pages.figures_shown import Shown, newest, shown, title_of
from store.releases import cascades
from store.watching import figures

COLUMNS = ("savings_usd", "drop", "retained_share")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One cascade's line."""

    summary: CascadeSummary
    figures: tuple[Shown, ...]
    trend: Chart | None


def lines(session: Session) -> tuple[Line, ...]:
    """All cascades by name, those with open alerts first."""
    page_lines = [_line(session, name) for name in cascades.cascade_names(session)]
    return tuple(sorted(page_lines, key=lambda line: (-line.summary.open_alerts, line.summary.name)))


def _line(session: Session, name: str) -> Line:
    rows = [
        row
        for row in figures.figures(session, name, names=(*COLUMNS, "savings_gflops"))
        if row.tier is None and row.slice is None
    ]
    # Without prices there are no savings in USD; the same in GFLOPs then.
    priced = any(row.name == "savings_usd" and row.value is not None for row in rows)
    savings = "savings_usd" if priced else "savings_gflops"
    return Line(
        summary=summary_of(session, name),
        figures=tuple(shown(newest(rows, figure), figure) for figure in (savings, *COLUMNS[1:])),
        trend=chart(title_of(savings), {savings: [row for row in rows if row.name == savings]}),
    )

"""A cascade's page, or its month, as one file that needs no server: for an archive, a mail, or the
end of a simulation.
"""

from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup
from sqlalchemy.orm import Session

from knowgate._records.records import Window
from services.pages.cascades.cascade_page import cascade_page
from services.pages.cascades.sample import sample_of
from services.pages.cascades.tables import figures_of, slices_of
from services.pages.charts.chart import Chart
from services.pages.monthly.month import month_report
from services.pages.rendering import FOLDER, templates


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of a story's table."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, when it happened."""

    at: datetime
    what: str  # a word: trained, promoted, alert …
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What stands above the cascade's own page."""

    title: str
    lead: str
    lines: tuple[Line, ...]
    events: tuple[Event, ...]  # earliest first
    charts: tuple[Chart, ...]


def render_report(session: Session, name: str, *, now: datetime, story: Story | None = None) -> str:
    """The HTML of cascade `name`'s report. Raises CascadeUnknown."""
    page = cascade_page(session, name, now=now, word="all")
    shown = {
        "name": name,
        "page": page,
        "chosen": page.chosen,
        "sample": sample_of(session, page.spec, page.chosen, now=now),
        "slices": slices_of(session, page.spec, page.chosen),
        "table": figures_of(session, page.spec),
        "places_of_a_cascade": (),
    }
    return _alone("report.html", title=name, now=now, story=story, **shown)


def render_month(session: Session, name: str, month: Window, *, now: datetime) -> str:
    """The HTML of cascade `name`'s report of a month. Raises CascadeUnknown."""
    report = month_report(session, name, month, now=now)
    return _alone("month_alone.html", title=f"{name}, {month.start:%B %Y}", now=now, report=report)


def _alone(template: str, **shown: object) -> str:
    """A template with its style in it, in a frame that leads nowhere."""
    style = Markup((FOLDER / "style.css").read_text(encoding="utf-8"))
    frame = {"style": style, "path": "", "signs_in": False, "unwatched": None}
    return templates().get_template(template).render(frame | shown)

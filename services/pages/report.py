"""A cascade's page as one file that needs no server: for an archive, a mail, or the end of a
simulation.
"""

from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup
from sqlalchemy.orm import Session

from services.pages.cascades.cascade_page import cascade_page
from services.pages.cascades.sample import sample_of
from services.pages.cascades.tables import figures_of, slices_of
from services.pages.charts.chart import Chart
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
    style = (FOLDER / "style.css").read_text(encoding="utf-8")
    page = cascade_page(session, name, now=now, word="all")
    shown = {
        "page": page,
        "chosen": page.chosen,
        "sample": sample_of(session, page.spec, page.chosen, now=now),
        "slices": slices_of(session, page.spec, page.chosen),
        "table": figures_of(session, page.spec),
        "places_of_a_cascade": (),
    }
    frame = {"title": name, "name": name, "now": now, "story": story, "style": Markup(style), "path": ""}
    return templates().get_template("report.html").render(frame | shown | {"signs_in": False})

"""One cascade's page: what is in force, how it does, what was decided about it and what its runtimes say."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from knowgate.assignment import Assignment
from knowgate.spec import CascadeSpec
from services.api.cascades import summary_of
from services.api.wire import CascadeSummary
from services.pages.charts import Chart, chart
from services.pages.figures_shown import CHARTS, TILES, Shown, newest, shown, title_of
from store import alerts, assignments, bundles, cascades, certifications, figures, labels, promotions
from store.alerts import AlertRecord
from store.assignments import Acknowledgement
from store.bundles import BundleRecord
from store.certifications import CertificationRecord
from store.figures import FigureRow
from store.promotions import Outcome, PromotionRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceLine:
    """The newest figures of one slice."""

    name: str
    figures: tuple[Shown, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadePage:
    """All that the page shows."""

    summary: CascadeSummary
    spec: CascadeSpec
    assignment: Assignment | None
    tiles: tuple[Shown, ...]
    charts: tuple[Chart, ...]
    slices: tuple[SliceLine, ...]
    alerts: tuple[AlertRecord, ...]  # newest first
    promotions: tuple[PromotionRecord, ...]  # newest first
    certifications: tuple[CertificationRecord, ...]  # newest first
    bundles: tuple[BundleRecord, ...]
    runtimes: tuple[Acknowledgement, ...]
    waiting: int  # labels without their decision
    champion: dict[str, Any] | None  # the champion's document


def cascade_page(session: Session, name: str) -> CascadePage:
    """The page of one cascade. Raises CascadeUnknown."""
    summary = summary_of(session, name)
    rows = figures.figures(session, name)
    whole = [row for row in rows if row.tier is None and row.slice is None]
    decided = promotions.promotions(session, name)
    held = assignments.assignment(session, name)
    return CascadePage(
        summary=summary,
        spec=cascades.cascade(session, name),
        assignment=held,
        tiles=tuple(shown(newest(whole, figure), figure) for figure in TILES),
        charts=_charts(whole, decided),
        slices=_slices(rows),
        alerts=tuple(sorted(alerts.alerts(session, name), key=lambda alert: alert.opened_at, reverse=True)),
        promotions=decided[::-1],
        certifications=tuple(
            sorted(certifications.certifications(session, name), key=lambda row: row.attempt, reverse=True)
        ),
        bundles=bundles.bundles(session, name),
        runtimes=assignments.acknowledgements(session, name),
        waiting=labels.waiting_count(session, name),
        champion=_champion(session, held),
    )


def _champion(session: Session, held: Assignment | None) -> dict[str, Any] | None:
    if held is None or held.champion is None:
        return None
    document: dict[str, Any] = json.loads(bundles.bundle(session, held.champion).document)
    return document


def _charts(rows: list[FigureRow], decided: tuple[PromotionRecord, ...]) -> tuple[Chart, ...]:
    marks = [row.decided_at for row in decided if row.outcome is not Outcome.REFUSED]
    known = {name for _, names in CHARTS for name in names}
    others = sorted({row.name for row in rows} - known)
    wanted = (*CHARTS, *((title_of(name), (name,)) for name in others))
    drawn = (
        chart(title, {name: [row for row in rows if row.name == name] for name in names}, marks)
        for title, names in wanted
    )
    return tuple(found for found in drawn if found is not None)


def _slices(rows: tuple[FigureRow, ...]) -> tuple[SliceLine, ...]:
    by_slice: dict[str, list[FigureRow]] = {}
    for row in rows:
        if row.slice is not None and row.tier is None:
            by_slice.setdefault(row.slice, []).append(row)
    columns = [name for name in TILES if any(row.name == name for held in by_slice.values() for row in held)]
    return tuple(
        SliceLine(name=name, figures=tuple(shown(newest(by_slice[name], figure), figure) for figure in columns))
        for name in sorted(by_slice)
    )

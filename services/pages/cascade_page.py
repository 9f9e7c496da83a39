"""One cascade's page: what is in force, how it does, what was decided about it and what its
runtimes say.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment
from knowgate.spec import CascadeSpec
from services.api.cascades import summary_of
from services.api.wire import CascadeSummary
from services.labelling.progress import LabelProgress, label_progress
from services.pages.charts import Chart, chart
from services.pages.figures_shown import CHARTS, TIER_CHARTS, TILES, Shown, newest, shown
from services.pages.rendering import document_shown
from services.promotion.prospect import Prospect, prospect_of
from services.promotion.rollout_state import State, state_of
from store.jobs import job_runs
from store.jobs.job_runs import JobRun
from store.releases import assignments, bundles, cascades, certifications, promotions
from store.releases.assignments import RuntimeState
from store.releases.bundles import BundleRecord
from store.releases.certifications import CertificationRecord
from store.releases.promotions import PromotionRecord
from store.traffic import labels
from store.watching import alerts, figures
from store.watching.alerts import AlertRecord
from store.watching.figures import FigureRow

TRAININGS = 20  # that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceLine:
    """The newest figures of one slice."""

    name: str
    figures: tuple[Shown, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLine:
    """The newest value of one figure of the cascade, or of one of its tiers."""

    of: str
    figure: Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadePage:
    """All that the page shows."""

    summary: CascadeSummary
    spec: CascadeSpec
    assignment: Assignment | None
    tiles: tuple[Shown, ...]
    charts: tuple[Chart, ...]
    table: tuple[TableLine, ...]  # every figure's newest value
    slices: tuple[SliceLine, ...]
    alerts: tuple[AlertRecord, ...]  # newest first
    promotions: tuple[PromotionRecord, ...]  # newest first
    certifications: tuple[CertificationRecord, ...]  # newest first
    trainings: tuple[JobRun, ...]  # the latest, newest first
    bundles: tuple[BundleRecord, ...]
    runtimes: tuple[RuntimeState, ...]
    waiting: int  # labels without their decision
    labels: LabelProgress  # for the next certificate
    champion: dict[str, Any] | None  # the champion's document
    prospect: Prospect | None  # what switching it on would do; None where something decides


def cascade_page(session: Session, name: str, *, now: datetime) -> CascadePage:
    """The page of one cascade as it is `now`. Raises CascadeUnknown."""
    summary = summary_of(session, name)
    spec = cascades.cascade(session, name)
    rows = figures.figures(session, name)
    whole = [row for row in rows if row.tier is None and row.slice is None]
    decided = promotions.promotions(session, name)
    assignment = assignments.assignment(session, name)
    return CascadePage(
        summary=summary,
        spec=spec,
        assignment=assignment,
        tiles=tuple(shown(newest(whole, figure), figure) for figure in TILES),
        charts=_charts(rows, spec, decided),
        table=_table(rows, spec),
        slices=_slices(rows),
        alerts=tuple(sorted(alerts.alerts(session, name), key=lambda alert: alert.opened_at, reverse=True)),
        promotions=decided[::-1],
        certifications=tuple(
            sorted(certifications.certifications(session, name), key=lambda row: row.attempt, reverse=True)
        ),
        trainings=job_runs.job_runs(session, name, job="train", limit=TRAININGS),
        bundles=bundles.bundles(session, name),
        runtimes=assignments.acknowledgements(session, name),
        waiting=labels.waiting_count(session, name),
        labels=label_progress(session, name, now=now),
        champion=_champion(session, assignment),
        prospect=_prospect(session, assignment),
    )


def _prospect(session: Session, assignment: Assignment | None) -> Prospect | None:
    if assignment is None or state_of(assignment) is State.ACTIVE:
        return None
    return prospect_of(session, assignment)


def _champion(session: Session, assignment: Assignment | None) -> dict[str, Any] | None:
    if assignment is None or assignment.champion is None:
        return None
    return document_shown(bundles.bundle(session, assignment.champion).document)


def _charts(rows: tuple[FigureRow, ...], spec: CascadeSpec, decided: tuple[PromotionRecord, ...]) -> tuple[Chart, ...]:
    marks = [row.decided_at for row in decided if row.outcome.moves]
    whole = [row for row in rows if row.slice is None]
    wanted: list[tuple[str, tuple[str, ...], int | None]] = [(title, names, None) for title, names in CHARTS]
    for tier in range(spec.last):
        wanted += [(f"{title}, {spec.tiers[tier].name}", names, tier) for title, names in TIER_CHARTS]
    drawn = []
    for title, names, of in wanted:
        lines = {name: [row for row in whole if row.name == name and row.tier == of] for name in names}
        # Of several reasons, those that never occurred would only lie on the axis.
        seen = {name: points for name, points in lines.items() if len(names) < 3 or any(row.value for row in points)}
        drawn.append(chart(title, seen, marks, legend=len(names) > 1))
    return tuple(one for one in drawn if one is not None)


def _table(rows: tuple[FigureRow, ...], spec: CascadeSpec) -> tuple[TableLine, ...]:
    keys = sorted({(-1 if row.tier is None else row.tier, row.name) for row in rows if row.slice is None})
    lines = []
    for tier, name in keys:
        of_tier = [row for row in rows if row.slice is None and (-1 if row.tier is None else row.tier) == tier]
        of = "the cascade" if tier < 0 else spec.tiers[tier].name if tier <= spec.last else f"tier {tier}"
        lines.append(TableLine(of=of, figure=shown(newest(of_tier, name), name)))
    return tuple(lines)


def _slices(rows: tuple[FigureRow, ...]) -> tuple[SliceLine, ...]:
    by_slice: dict[str, list[FigureRow]] = {}
    for row in rows:
        if row.slice is not None and row.tier is None:
            by_slice.setdefault(row.slice, []).append(row)
    columns = [name for name in TILES if any(row.name == name for of_slice in by_slice.values() for row in of_slice)]
    return tuple(
        SliceLine(name=name, figures=tuple(shown(newest(by_slice[name], figure), figure) for figure in columns))
        for name in sorted(by_slice)
    )

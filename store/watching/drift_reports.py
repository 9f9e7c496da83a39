"""Drift reports as JSON: small enough to keep, and pages are rendered from them on demand."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from knowgate._records.records import Window
from store import dialects, documents
from store.tables import DriftReportRow
from store.watching.figures import WHOLE


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """One report on one cohort."""

    cascade: str
    window: Window
    tier: int | None  # None = the whole cascade
    name: str
    document: str  # canonical JSON
    computed_at: datetime


def put_report(session: Session, report: DriftReport) -> None:
    """Store a report in place of an earlier one of the same cohort, tier and name."""
    row = {
        "cascade": report.cascade,
        "name": report.name,
        "window_start": report.window.start,
        "window_end": report.window.end,
        "tier": WHOLE if report.tier is None else report.tier,
        "document": documents.parse(report.document),
        "computed_at": report.computed_at,
    }
    dialects.upsert(session, DriftReportRow, [row])


def reports(
    session: Session,
    cascade: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    name: str | None = None,
) -> tuple[DriftReport, ...]:
    """The cascade's reports on windows that end after `since` and start before `until`, oldest
    first.
    """
    query = select(DriftReportRow).where(DriftReportRow.cascade == cascade)
    if since is not None:
        query = query.where(DriftReportRow.window_end > since)
    if until is not None:
        query = query.where(DriftReportRow.window_start < until)
    if name is not None:
        query = query.where(DriftReportRow.name == name)
    ordered = query.order_by(DriftReportRow.window_start, DriftReportRow.name, DriftReportRow.tier)
    return tuple(
        DriftReport(
            cascade=row.cascade,
            window=Window(start=row.window_start, end=row.window_end),
            tier=None if row.tier == WHOLE else row.tier,
            name=row.name,
            document=documents.write(row.document),
            computed_at=row.computed_at,
        )
        for row in session.scalars(ordered.execution_options(populate_existing=True))
    )

"""Drift reports as JSON: small enough to keep, and pages are rendered from them on demand.

A cascade has one a day (`DAILY`); before there were those, one a day and tier.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from knowgate._records.records import Window
from store import dialects
from store.rows import Document, record_of, row_of
from store.tables import DriftReportRow
from store.watching.figures import WHOLE

DAILY = "daily"  # the name of a day's report
REPORTS = "mlflow_reports"  # the topic under which one reaches MLflow


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """One report on one cohort."""

    cascade: str
    window: Window
    tier: int | None  # None = the whole cascade
    name: str
    document: Document
    computed_at: datetime


def put_report(session: Session, report: DriftReport) -> None:
    """Store a report in place of an earlier one of the same cohort, tier and name."""
    row = row_of(DriftReportRow, report, tier=WHOLE if report.tier is None else report.tier)
    dialects.upsert(session, DriftReportRow, [row])


def daily_windows(session: Session, cascade: str) -> tuple[Window, ...]:
    """The windows that a daily report is on, newest first."""
    query = select(DriftReportRow.window_start, DriftReportRow.window_end).where(
        DriftReportRow.cascade == cascade, DriftReportRow.name == DAILY
    )
    rows = session.execute(query.order_by(DriftReportRow.window_end.desc()))
    return tuple(Window(start=start, end=end) for start, end in rows)


def daily_report(session: Session, cascade: str, window: Window) -> DriftReport | None:
    """The daily report on this window; None where there is none."""
    row = session.get(DriftReportRow, (cascade, DAILY, window.start, window.end, WHOLE), populate_existing=True)
    return None if row is None else record_of(DriftReport, row, tier=None)


def reports(session: Session, cascade: str) -> tuple[DriftReport, ...]:
    """The cascade's reports, oldest first."""
    query = select(DriftReportRow).where(DriftReportRow.cascade == cascade)
    ordered = query.order_by(DriftReportRow.window_start, DriftReportRow.name, DriftReportRow.tier)
    return tuple(
        record_of(DriftReport, row, tier=None if row.tier == WHOLE else row.tier)
        for row in session.scalars(ordered.execution_options(populate_existing=True))
    )

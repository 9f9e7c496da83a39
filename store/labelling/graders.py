"""Which machine made labels, in which version, and how often it was found to err.

A label names its grader; the first label of a version makes its row. Measurements are added and
never changed: an audit can say how good a grader was known to be when a certificate was made of its
labels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from knowgate._records.records import Label, Window
from store import dialects
from store.rows import record_of, row_of
from store.tables import GraderErrorRow, GraderRow


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderError:
    """How often one version of a grader erred where trusted labels speak of the same answers;
    counts of answers.
    """

    grader: str
    measured_at: datetime
    window: Window
    wrong: int  # answers that are wrong
    wrong_called_right: int
    right: int
    right_called_wrong: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grader:
    """One version of a grader, with its latest measurement."""

    name: str
    source: str
    first_seen_at: datetime
    error: GraderError | None  # None = never measured: its labels are forecasts of unknown worth


def note_graders(session: Session, labels: Iterable[Label], *, now: datetime) -> None:
    """Rows for the graders that these labels name and that have none yet."""
    named = {(label.cascade, label.grader): label.source.value for label in labels if label.grader is not None}
    rows = [
        {"cascade": cascade, "name": name, "source": source, "first_seen_at": now}
        for (cascade, name), source in sorted(named.items())
    ]
    dialects.insert_new(session, GraderRow, rows, returning="name")


def add_error(session: Session, cascade: str, error: GraderError) -> None:
    """Keep a measurement; one of the same grader and time that is there already stays."""
    row = row_of(GraderErrorRow, error, cascade=cascade)
    dialects.insert_new(session, GraderErrorRow, [row], returning="grader")


def graders(session: Session, cascade: str, *, as_of: datetime) -> tuple[Grader, ...]:
    """The graders seen by `as_of`, by name, each with what was measured of it last by then."""
    latest: dict[str, GraderError] = {}
    measured = (
        select(GraderErrorRow)
        .where(GraderErrorRow.cascade == cascade, GraderErrorRow.measured_at <= as_of)
        .order_by(GraderErrorRow.measured_at)
    )
    for row in session.scalars(measured):
        latest[row.grader] = record_of(GraderError, row)
    seen = (
        select(GraderRow).where(GraderRow.cascade == cascade, GraderRow.first_seen_at <= as_of).order_by(GraderRow.name)
    )
    return tuple(record_of(Grader, row, error=latest.get(row.name)) for row in session.scalars(seen))

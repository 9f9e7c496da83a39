"""What monitoring concluded: figures of cohorts, drift reports, and the state its alarms carry from
run to run.

The whole cascade is tier -1 and slice '' in a key, since a NULL in a key is equal to nothing.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base, JsonType


class CohortFigureRow(Base):
    """One figure of one cohort."""

    __tablename__ = "cohort_figure"
    # The key goes by windows, of which each has a row per slice; a chart reads one of these.
    __table_args__ = (Index("ix_cohort_figure_series", "cascade", "slice", "tier", "name", "mature", "window_start"),)

    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    window_start: Mapped[datetime] = mapped_column(primary_key=True)
    window_end: Mapped[datetime] = mapped_column(primary_key=True)
    tier: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    slice: Mapped[str] = mapped_column(primary_key=True)
    mature: Mapped[bool] = mapped_column(primary_key=True)
    value: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    n: Mapped[int]
    not_identified: Mapped[str | None]  # why there is no value, or beside one no interval
    computed_at: Mapped[datetime]


class FigureDayRow(Base):
    """One figure over the windows that start on one UTC day, as sums from which its mean and the
    reach of that follow (`store.watching.figure_sums`); made of `cohort_figure`, and again where
    that has changed.
    """

    __tablename__ = "figure_day"
    __table_args__ = (Index("ix_figure_day_cascade_day", "cascade", "day"),)

    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"), primary_key=True)
    slice: Mapped[str] = mapped_column(primary_key=True)
    tier: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(primary_key=True)
    mature: Mapped[bool] = mapped_column(primary_key=True)
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # since 1970
    windows: Mapped[int]
    window_start: Mapped[datetime]  # of the first window
    window_end: Mapped[datetime]  # of the last
    known: Mapped[int]  # windows with a value
    bounded: Mapped[int]  # with an interval too
    n: Mapped[int]
    total: Mapped[float]
    weighted: Mapped[float]
    below: Mapped[float]
    above: Mapped[float]
    weighted_below: Mapped[float]
    weighted_above: Mapped[float]
    not_identified: Mapped[str | None]


class SummedDayRow(Base):
    """A day whose rows of `figure_day` say what `cohort_figure` says."""

    __tablename__ = "summed_day"

    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"), primary_key=True)
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    summed_at: Mapped[datetime]


class DriftReportRow(Base):
    """One drift report, as JSON; pages are rendered from it on demand."""

    __tablename__ = "drift_report"

    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    window_start: Mapped[datetime] = mapped_column(primary_key=True)
    window_end: Mapped[datetime] = mapped_column(primary_key=True)
    tier: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    document: Mapped[Any] = mapped_column(JsonType)
    computed_at: Mapped[datetime]


class AlarmStateRow(Base):
    """What a sequential alarm has accumulated so far."""

    __tablename__ = "alarm_state"

    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"), primary_key=True)
    rule: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[Any] = mapped_column(JsonType)
    updated_at: Mapped[datetime]

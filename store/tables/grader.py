"""Graders in their versions, and how often each was found to err.

A row per cascade and version, as labels name it; a measurement is a further row, so that what was
known of a grader when a certificate was made can be read later.
"""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base


class GraderRow(Base):
    """One version of a grader."""

    __tablename__ = "grader"

    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)  # name@version
    source: Mapped[str]
    first_seen_at: Mapped[datetime]


class GraderErrorRow(Base):
    """One measurement of a grader's two error rates, against trusted labels of the same answers."""

    __tablename__ = "grader_error"
    __table_args__ = (
        ForeignKeyConstraint(["cascade", "grader"], ["grader.cascade", "grader.name"]),
        CheckConstraint('wrong_called_right <= wrong and right_called_wrong <= "right"', name="counts"),
    )

    cascade: Mapped[str] = mapped_column(primary_key=True)
    grader: Mapped[str] = mapped_column(primary_key=True)
    measured_at: Mapped[datetime] = mapped_column(primary_key=True)
    window_start: Mapped[datetime]
    window_end: Mapped[datetime]
    wrong: Mapped[int]  # answers that a trusted label finds wrong
    wrong_called_right: Mapped[int]  # of those
    right: Mapped[int]
    right_called_wrong: Mapped[int]

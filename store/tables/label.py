"""Labels, append-only, and those that came before their decision.

A label's key is what it says about which attempt, so one that repeats exactly finds itself there. A
label that came first waits in a table of its own: there it has no attempt yet to refer to, and it
moves when the decision arrives.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base

_SOURCES = "source in ('gold', 'human', 'judge', 'feedback')"


class LabelRow(Base):
    """A statement about one attempt's correctness."""

    __tablename__ = "label"
    __table_args__ = (
        ForeignKeyConstraint(["decision_id", "tier"], ["attempt.decision_id", "attempt.tier"]),
        Index("ix_label_arrival", "arrival"),
        CheckConstraint(_SOURCES, name="source"),
        CheckConstraint("correct >= 0 and correct <= 1", name="correct"),
        {"postgresql_partition_by": "RANGE (decision_id)"},
    )

    decision_id: Mapped[UUID] = mapped_column(primary_key=True)
    tier: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    source: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(primary_key=True)  # of correct, labelled_at and label_propensity
    arrival: Mapped[UUID]  # UUIDv7 of received_at; sorts labels of one batch as they were sent
    correct: Mapped[float]
    labelled_at: Mapped[datetime]
    received_at: Mapped[datetime]
    label_propensity: Mapped[float | None]
    grader: Mapped[str | None]  # a name in `grader`; without a foreign key, as labels are partitioned
    origin: Mapped[str | None]


class WaitingLabelRow(Base):
    """A label whose decision has not arrived yet; named by the decision's id or by the
    user's own.
    """

    __tablename__ = "waiting_label"
    __table_args__ = (
        UniqueConstraint("digest"),
        Index("ix_waiting_label_cascade_external_id", "cascade", "external_id"),
        Index("ix_waiting_label_decision_id", "decision_id"),
        CheckConstraint(_SOURCES, name="source"),
        CheckConstraint("(decision_id is null) <> (external_id is null)", name="named"),
    )

    arrival: Mapped[UUID] = mapped_column(primary_key=True)
    digest: Mapped[str]  # of the whole statement
    cascade: Mapped[str]
    decision_id: Mapped[UUID | None]
    external_id: Mapped[str | None]
    tier: Mapped[int | None]  # None = the served one, known once the decision is there
    source: Mapped[str]
    correct: Mapped[float]
    labelled_at: Mapped[datetime]
    received_at: Mapped[datetime]
    label_propensity: Mapped[float | None]
    grader: Mapped[str | None]
    origin: Mapped[str | None]
    parked: Mapped[str | None]  # why it will not be adopted by the decision it names; None = that is not there yet


class KnownHourRow(Base):
    """How many decisions of one hour say what a promise is about (`store.labelling.known`)."""

    __tablename__ = "known_hour"

    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"), primary_key=True)
    question: Mapped[str] = mapped_column(primary_key=True)  # which tiers, by whose labels
    hour: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # since 1970
    known: Mapped[int]
    counted_at: Mapped[datetime]


class KnownCountRow(Base):
    """Up to when everything that was received is in the hours of one question."""

    __tablename__ = "known_count"

    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"), primary_key=True)
    question: Mapped[str] = mapped_column(primary_key=True)
    read_until: Mapped[datetime]

"""Attempts: one tier's run within a decision, with its signals, its verdict and its cost.

What a record says of an attempt in one value is a column of its name: a signal that is added there
is one here.
"""

from typing import Any, get_type_hints
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from knowgate._records.records import Attempt, Signals, Verdict
from store.tables.base import Base, JsonType, scalar_type, where_known


class AttemptRow(Base):
    """One tier's run; `decision_id` carries the time, so it partitions as decisions do."""

    __tablename__ = "attempt"
    __table_args__ = (
        Index("ix_attempt_span_id", "span_id", **where_known("span_id")),
        CheckConstraint("role in ('served', 'superseded', 'exploration', 'skipped')", name="role"),
        {"postgresql_partition_by": "RANGE (decision_id)"},
    )

    decision_id: Mapped[UUID] = mapped_column(ForeignKey("decision.id"), primary_key=True)
    tier: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    role: Mapped[str]
    model: Mapped[str]
    action: Mapped[str | None]  # None = nothing was decided at this tier
    gates: Mapped[Any | None] = mapped_column(JsonType)  # [[gate, value, threshold, passed], …]
    fingerprint: Mapped[str | None] = mapped_column(ForeignKey("fingerprint.sha256"))
    answer: Mapped[str | None]
    gflops: Mapped[float | None]
    span_id: Mapped[str | None]


for _part in (Attempt, Signals, Verdict):
    for _name, _hint in get_type_hints(_part).items():
        _type = None if _name in AttemptRow.__table__.c or _name == "vector" else scalar_type(_hint)
        if _type is not None:
            setattr(AttemptRow, _name, mapped_column(_type, nullable=True))

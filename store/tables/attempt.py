"""Attempts: one tier's run within a decision, with its signals, its verdict and its cost."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base, JsonType


class AttemptRow(Base):
    """One tier's run; `decision_id` carries the time, so it partitions as decisions do."""

    __tablename__ = "attempt"
    __table_args__ = (
        CheckConstraint("role in ('served', 'superseded', 'exploration')", name="role"),
        {"postgresql_partition_by": "RANGE (decision_id)"},
    )

    decision_id: Mapped[UUID] = mapped_column(ForeignKey("decision.id"), primary_key=True)
    tier: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    role: Mapped[str]
    model: Mapped[str]
    p_t: Mapped[float | None]
    p_ik: Mapped[float | None]
    score: Mapped[float | None]
    ood: Mapped[float | None]
    entropy: Mapped[float | None]
    margin: Mapped[float | None]
    p_t_kind: Mapped[str | None]  # None = what the cascade declared in the version that the decision names
    note: Mapped[str | None]
    action: Mapped[str | None]  # None = nothing was decided at this tier
    reason: Mapped[str | None]
    fallback: Mapped[bool | None]
    gates: Mapped[Any | None] = mapped_column(JsonType)  # [[gate, value, threshold, passed], …]
    fault: Mapped[str | None]
    fingerprint: Mapped[str | None] = mapped_column(ForeignKey("fingerprint.sha256"))
    answer: Mapped[str | None]
    run_propensity: Mapped[float | None]
    tokens_in: Mapped[int | None]
    tokens_out: Mapped[int | None]
    latency_ms: Mapped[float | None]
    cost_usd: Mapped[float | None]
    gflops: Mapped[float | None]

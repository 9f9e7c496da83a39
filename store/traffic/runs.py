"""Runs by the spans of traces that they were: how labels of other systems find their answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.batches import batched
from store.rejections import storable
from store.tables import AttemptRow, DecisionRow

_CHUNK = 5000  # ids in one IN list


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a span was."""

    decision_id: UUID
    tier: int | None  # None = the caller's own span: what was served to it


def runs_of_spans(session: Session, cascade: str, spans: Sequence[str]) -> dict[str, Run]:
    """The newest run of each span that is known to the cascade: an attempt's, or the caller's of a
    decision.
    """
    runs: dict[str, Run] = {}
    for chunk in batched(sorted({span for span in spans if storable(span)}), _CHUNK):
        asked = select(DecisionRow.span_id, DecisionRow.id).where(
            DecisionRow.cascade == cascade, DecisionRow.span_id.in_(chunk)
        )
        for span, decision_id in session.execute(asked.order_by(DecisionRow.id)):
            runs[str(span)] = Run(decision_id=decision_id, tier=None)
        ran = (
            select(AttemptRow.span_id, AttemptRow.decision_id, AttemptRow.tier)
            .join(DecisionRow, DecisionRow.id == AttemptRow.decision_id)
            .where(DecisionRow.cascade == cascade, AttemptRow.span_id.in_(chunk))
        )
        for span, decision_id, tier in session.execute(ran.order_by(AttemptRow.decision_id)):
            runs[str(span)] = Run(decision_id=decision_id, tier=tier)
    return runs

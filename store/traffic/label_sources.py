"""Labels per source: what each kind of labeller says of the same answer, side by side.

The label in force hides a grader's verdict behind a gold label (`store.traffic.examples`), which is
right for figures; to know how often the grader errs both must be seen. Within a source the newest
statement counts, as everywhere.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from knowgate._records.records import LabelSource, Window
from store import partitions
from store.statements import newest_first
from store.tables import DecisionRow, LabelRow
from store.traffic.attempt_columns import objects


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcedLabels:
    """One row per attempt and source that had labelled it, ordered by decision id, tier
    and source.
    """

    decision_id: npt.NDArray[np.object_]  # [n] UUID
    tier: npt.NDArray[np.int64]  # [n]
    source: npt.NDArray[np.object_]  # [n] LabelSource values as text
    correct: npt.NDArray[np.float64]  # [n] of the source's latest label
    label_propensity: npt.NDArray[np.float64]  # [n] NaN = unknown
    first_delay_s: npt.NDArray[np.float64]  # [n] from the decision to the source's first label
    grader: npt.NDArray[np.object_]  # [n] who made it, in which version; None = unknown


def labels_by_source(session: Session, cascade: str, window: Window, *, as_of: datetime) -> SourcedLabels:
    """The labels of a window of decision time, made and received by `as_of`."""
    low, high = partitions.first_id(window.start), partitions.first_id(window.end)
    of_one = (LabelRow.decision_id, LabelRow.tier, LabelRow.source)
    place = func.row_number().over(partition_by=of_one, order_by=newest_first(LabelRow))
    first = func.min(LabelRow.received_at).over(partition_by=of_one)
    ranked = (
        select(
            LabelRow.decision_id,
            LabelRow.tier,
            LabelRow.source,
            LabelRow.correct,
            LabelRow.label_propensity,
            LabelRow.grader,
            first.label("first_received_at"),
            place.label("place"),
        )
        .where(
            LabelRow.decision_id >= low,
            LabelRow.decision_id < high,
            LabelRow.received_at <= as_of,
            LabelRow.labelled_at <= as_of,
        )
        .subquery()
    )
    query = (
        select(ranked, DecisionRow.occurred_at)
        .join(DecisionRow, DecisionRow.id == ranked.c.decision_id)
        .where(
            ranked.c.place == 1,
            DecisionRow.cascade == cascade,
            DecisionRow.id >= low,
            DecisionRow.id < high,
            DecisionRow.received_at <= as_of,
        )
        .order_by(ranked.c.decision_id, ranked.c.tier, ranked.c.source)
    )
    rows = session.execute(query).all()
    return SourcedLabels(
        decision_id=objects([row.decision_id for row in rows]),
        tier=np.array([row.tier for row in rows], dtype=np.int64),
        source=objects([row.source for row in rows]),
        grader=objects([row.grader for row in rows]),
        correct=np.array([row.correct for row in rows], dtype=np.float64),
        label_propensity=np.array([row.label_propensity for row in rows], dtype=np.float64),
        first_delay_s=np.array(
            [(row.first_received_at - row.occurred_at).total_seconds() for row in rows], dtype=np.float64
        ),
    )


def others_labelled(
    session: Session, cascade: str, window: Window, *, as_of: datetime, trusted: Collection[LabelSource]
) -> bool:
    """Whether a source that is not trusted had labelled any answer of the window's decisions by
    `as_of`.
    """
    low, high = partitions.first_id(window.start), partitions.first_id(window.end)
    query = (
        select(LabelRow.decision_id)
        .join(DecisionRow, DecisionRow.id == LabelRow.decision_id)
        .where(
            LabelRow.source.not_in([source.value for source in trusted]),
            LabelRow.decision_id >= low,
            LabelRow.decision_id < high,
            LabelRow.received_at <= as_of,
            LabelRow.labelled_at <= as_of,
            DecisionRow.cascade == cascade,
            DecisionRow.id >= low,
            DecisionRow.id < high,
            DecisionRow.received_at <= as_of,
        )
        .limit(1)
    )
    return session.scalar(query) is not None

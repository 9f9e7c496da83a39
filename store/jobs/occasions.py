"""What a training is made for: its turn, or a need that was seen between two turns.

A need has a key, which the database lets one run have: what called for a training calls once,
however many schedulers saw it and however often they were started again.
"""

from dataclasses import dataclass
from enum import StrEnum


class TrainingReason(StrEnum):
    """Why a training is made."""

    SCHEDULE = "schedule"  # a period has ended
    DRIFT = "drift"  # traffic is another than the champion was made from; no label says so
    SAVINGS = "savings"  # the savings alarm rang; no label says so
    RISK = "risk"  # the risk alarm rang, and enough is known since
    MODEL = "model"  # a tier runs another model than before, and enough is known of it
    LABELS = "labels"  # so many were added that an attempt has something to gain
    ASKED = "asked"  # a person asked for an attempt, if it could win
    INSISTED = "insisted"  # a person asked for one that could hardly win

    @property
    def of_a_person(self) -> bool:
        return self in (TrainingReason.ASKED, TrainingReason.INSISTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """What one training is made for."""

    reason: TrainingReason
    why: str  # in a sentence
    key: str | None = None  # names what called for it; None = its turn
    asked_by: str | None = None

    def __str__(self) -> str:
        who = "" if self.asked_by is None else f" ({self.asked_by})"
        return f"{self.reason}: {self.why}{who}"

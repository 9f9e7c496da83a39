"""What grades an answer, and what becomes of its verdicts.

A grader is one method. What it cannot tell it leaves out: a made-up verdict is worse than a missing
label.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from knowgate._records.records import Label, LabelSource
from services.labelling.candidates import Candidate


class Grader(Protocol):
    """Says of an answer how right it is."""

    def grade(self, candidate: Candidate) -> float | None:
        """In [0, 1]; None = it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grading:
    """Whose labels these are, and the chance that an answer of the window has one."""

    cascade: str
    source: LabelSource
    label_propensity: float | None
    grader: str | None = None  # name@version, which the labels carry


def graded(
    candidates: Sequence[Candidate], grader: Grader, grading: Grading, *, now: datetime
) -> Iterator[Label | None]:
    """The label of each candidate in turn; None where the grader cannot tell."""
    for candidate in candidates:
        correct = grader.grade(candidate)
        yield (
            None
            if correct is None
            else Label(
                cascade=grading.cascade,
                source=grading.source,
                correct=correct,
                labelled_at=now,
                decision_id=candidate.decision_id,
                tier=candidate.tier,
                label_propensity=grading.label_propensity,
                grader=grading.grader,
            )
        )

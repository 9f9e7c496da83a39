"""How often machines that label err, by the trusted labels of the same answers.

Every version of a grader is measured apart. Counts are plain: trusted labels are drawn by coins
that have not looked at the verdict, so each of the two rates is a mean over a sample of its own
(`knowgate labels queue` draws so). Sources: Rogan & Gladen, American Journal of Epidemiology 107
(1978) (the two rates); Clopper & Pearson, Biometrika 26 (1934) (their intervals).
"""

from collections.abc import Collection
from datetime import datetime

import pandas as pd

from knowgate._records.arrays import BoolArray
from knowgate._records.records import LabelSource, Window
from monitoring.figures.estimates import Estimated, exact_share
from monitoring.names import FigureName
from store.traffic.graders import GraderError
from store.traffic.label_sources import SourcedLabels


def measured_errors(
    labels: SourcedLabels, trusted: Collection[LabelSource], window: Window, *, measured_at: datetime
) -> tuple[GraderError, ...]:
    """Each named grader that is not trusted, by name, where at least one answer has a trusted label
    too.
    """
    strength = {source.value: rank for rank, source in enumerate(LabelSource) if source in trusted}
    truth: dict[tuple[object, int], tuple[int, float]] = {}
    for row in range(len(labels.tier)):
        rank = strength.get(str(labels.source[row]))
        key = (labels.decision_id[row], int(labels.tier[row]))
        if rank is not None and rank < truth.get(key, (len(LabelSource), 0.0))[0]:
            truth[key] = (rank, float(labels.correct[row]))
    counts: dict[str, list[int]] = {}
    for row in range(len(labels.tier)):
        known = truth.get((labels.decision_id[row], int(labels.tier[row])))
        if labels.grader[row] is None or str(labels.source[row]) in strength or known is None:
            continue
        count = counts.setdefault(str(labels.grader[row]), [0, 0, 0, 0])
        right, said = known[1] >= 0.5, bool(labels.correct[row] >= 0.5)
        count[2 if right else 0] += 1
        count[3 if right else 1] += said != right
    return tuple(
        GraderError(
            grader=name,
            measured_at=measured_at,
            window=window,
            wrong=count[0],
            wrong_called_right=count[1],
            right=count[2],
            right_called_wrong=count[3],
        )
        for name, count in sorted(counts.items())
    )


def grader_figures(attempts: pd.DataFrame) -> dict[FigureName, Estimated]:
    """The two error rates of what is not trusted, over all attempts [rows of `pair_attempts`] that
    both speak of.
    """
    said, right = compared(attempts)
    return {
        FigureName.JUDGE_WRONG_CALLED_RIGHT: _rate(said[~right], "wrong answers"),
        FigureName.JUDGE_RIGHT_CALLED_WRONG: _rate(~said[right], "right answers"),
    }


def compared(attempts: pd.DataFrame) -> tuple[BoolArray, BoolArray]:
    """What was said and what is right, where both are known."""
    both = attempts["forecast"].notna() & attempts["correct"].notna()
    return (attempts.loc[both, "forecast"] >= 0.5).to_numpy(), (attempts.loc[both, "correct"] >= 0.5).to_numpy()


def _rate(hits: BoolArray, of: str) -> Estimated:
    nothing = f"no {of} have both a trusted label and one of a source that is not"
    return exact_share(int(hits.sum()), len(hits), nothing=nothing)

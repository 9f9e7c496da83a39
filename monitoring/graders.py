"""How often machines that label err, by the trusted labels of the same answers; and whether that
gets worse.

Every version of a grader is measured apart. Counts are plain: trusted labels are drawn by coins
that have not looked at the verdict, so each of the two rates is a mean over a sample of its own
(`knowgate labels queue` draws so). A grader drifts where the exact 99 % intervals of the recent and
of the earlier share of errors no longer touch; while nothing changes that happens at fewer than one
look in a thousand. Sources: Rogan & Gladen, American Journal of Epidemiology 107 (1978) (the two
rates); Clopper & Pearson, Biometrika 26 (1934) (their intervals).
"""

from collections.abc import Collection
from datetime import datetime

import numpy as np
import pandas as pd

from evidence.bounds.binomial import clopper_pearson
from knowgate._records.records import LabelSource, Window
from monitoring.estimates import Estimated, exact_share
from monitoring.names import FigureName, Rule
from monitoring.rules import Assessment, Standing
from store.traffic.graders import GraderError
from store.traffic.label_sources import SourcedLabels

LEAST_COMPARED = 30  # answers with both labels, on either side of a comparison
DRIFT_CONFIDENCE = 0.99


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
        held = counts.setdefault(str(labels.grader[row]), [0, 0, 0, 0])
        right, said = known[1] >= 0.5, bool(labels.correct[row] >= 0.5)
        held[2 if right else 0] += 1
        held[3 if right else 1] += said != right
    return tuple(
        GraderError(
            grader=name,
            measured_at=measured_at,
            window=window,
            wrong=held[0],
            wrong_called_right=held[1],
            right=held[2],
            right_called_wrong=held[3],
        )
        for name, held in sorted(counts.items())
    )


def grader_figures(attempts: pd.DataFrame) -> dict[FigureName, Estimated]:
    """The two error rates of what is not trusted, over all attempts [rows of `pair_attempts`] that
    both speak of.
    """
    said, right = _compared(attempts)
    return {
        FigureName.JUDGE_WRONG_CALLED_RIGHT: _rate(said[~right], "wrong answers"),
        FigureName.JUDGE_RIGHT_CALLED_WRONG: _rate(~said[right], "right answers"),
    }


def assess_grader_drift(recent: pd.DataFrame, earlier: pd.DataFrame) -> Assessment:
    """Whether the share of wrong verdicts has risen between two tables of attempts."""
    rule, sides = Rule.JUDGE_DRIFT, []
    for attempts in (recent, earlier):
        said, right = _compared(attempts)
        if len(said) < LEAST_COMPARED:
            return Assessment(rule=rule, standing=Standing.UNKNOWN)
        sides.append(clopper_pearson(int((said != right).sum()), len(said), confidence=DRIFT_CONFIDENCE))
    now, before = sides
    comparison = f"the grader errs on {now.value:.1%} of {now.n} answers, before on {before.value:.1%} of {before.n}"
    if now.lower > before.upper:
        cause = f"{comparison}; look at its model and template, and label more gold until it is measured anew"
        details: dict[str, str | float] = {"error": now.value, "low": now.lower, "before": before.value}
        return Assessment(rule=rule, standing=Standing.RAISED, cause=cause, details=details)
    clear = now.value <= before.upper
    return Assessment(rule=rule, standing=Standing.CLEAR if clear else Standing.UNKNOWN, cause=comparison)


def _compared(attempts: pd.DataFrame) -> tuple["np.typing.NDArray[np.bool_]", "np.typing.NDArray[np.bool_]"]:
    """What was said and what is right, where both are known."""
    both = attempts["forecast"].notna() & attempts["correct"].notna()
    return (attempts.loc[both, "forecast"] >= 0.5).to_numpy(), (attempts.loc[both, "correct"] >= 0.5).to_numpy()


def _rate(hits: "np.typing.NDArray[np.bool_]", of: str) -> Estimated:
    nothing = f"no {of} have both a trusted label and one of a source that is not"
    return exact_share(int(hits.sum()), len(hits), nothing=nothing)

"""What the labels say of the cascade: its accuracy, its last tier's, and the drop between the two.

The drop is the mean of X over all decisions. On escalated ones X is 0 and needs no label, so it is
the retained share times the mean X of the retained, which rests on the decisions where the last
tier was run to explore.

What sources that are not trusted say (a grader, users) is a forecast here, which trusted labels
drawn by coin correct (prediction-powered, `monitoring.figures.estimates`); alone it makes no
figure. Where a cascade trusts its grader, the grader's labels and those of a sample must not be
averaged: the sample's weights stand for rows that the grader has labelled too, so its errors would
count beside what they correct. Such a figure is not identified.
"""

import numpy as np
import pandas as pd

from knowgate._records.records import LabelSource
from monitoring.figures.estimates import Estimated, Forecasts, of_part, stratified_mean, unidentified
from monitoring.figures.score_errors import ScoreErrors, accuracy_by_scores
from monitoring.names import FigureName
from monitoring.rows.cohorts import Cohort

MIXED = (
    "labels of a sample stand beside a grader's or users' that are trusted too; take those out of targets.trusted, and"
    " one corrects the other (`knowgate labels estimate` does so at once)"
)
_TRUSTED = [LabelSource.GOLD.value, LabelSource.HUMAN.value]


def accuracy_figures(cohort: Cohort, score_errors: ScoreErrors) -> dict[FigureName, Estimated]:
    """Accuracies, drop, and the label-free estimate beside them, over at least one decision."""
    return {
        FigureName.ACCURACY_CASCADE: accuracy_cascade(cohort),
        FigureName.ACCURACY_LAST: accuracy_last(cohort),
        FigureName.ACCURACY_RETAINED: accuracy_retained(cohort),
        FigureName.DROP: drop(cohort),
        FigureName.CBPE: accuracy_by_scores(cohort.decisions, score_errors),
    }


def accuracy_cascade(cohort: Cohort) -> Estimated:
    """P(the kept answer is right), a stratum per tier that answered."""
    return _kept(cohort.decisions)


def accuracy_last(cohort: Cohort) -> Estimated:
    """P(the last tier is right), on the decisions where it ran, weighted by the chance
    that it did.
    """
    rows = cohort.decisions
    if _mixed(rows, "last"):
        return unidentified(MIXED)
    return stratified_mean(
        rows["correct_last"],
        rows["run_propensity"] * rows["last_label_propensity"],
        _verdicts(cohort),
        what="labels of the last tier",
        forecasts=_forecasts(rows, "forecast_last", rows["last_ran"]),
    )


def accuracy_retained(cohort: Cohort) -> Estimated:
    """P(a kept answer of a tier before the last is right)."""
    rows = cohort.decisions[cohort.decisions["retained"]]
    if rows.empty:
        return unidentified("nothing is retained")
    return _kept(rows)


def drop(cohort: Cohort) -> Estimated:
    """E[X]: what accuracy is lost against always asking the last tier; negative = the cascade is
    better.
    """
    rows = cohort.decisions
    retained = rows[rows["retained"]]
    if retained.empty:
        return Estimated(n=len(rows), value=0.0, low=0.0, high=0.0)
    explored = retained[retained["explored"]]
    if _mixed(explored, "kept") or _mixed(explored, "last"):
        return unidentified(MIXED)
    inside = stratified_mean(
        retained["x"],
        retained["run_propensity"] * retained["label_propensity"],
        np.full(len(retained), "retained"),
        what="explored and labelled pairs",
        reach=(-1.0, 1.0),
        forecasts=_forecasts(retained, "forecast_x", retained["explored"]),
    )
    return of_part(inside, len(retained), len(rows))


def _kept(rows: pd.DataFrame) -> Estimated:
    if _mixed(rows, "kept"):
        return unidentified(MIXED)
    return stratified_mean(
        rows["correct_kept"],
        rows["kept_label_propensity"],
        "tier " + rows["kept_tier"].astype(str),
        what="labels of kept answers",
        forecasts=_forecasts(rows, "forecast_kept"),
    )


def _mixed(rows: pd.DataFrame, answer: str) -> bool:
    """Whether gold or human labels drawn by a coin stand beside labels of other sources."""
    source, chance = rows[f"{answer}_label_source"], rows[f"{answer}_label_propensity"]
    sampled = source.isin(_TRUSTED) & (chance < 1.0)
    return bool(sampled.any() and (source.notna() & ~source.isin(_TRUSTED)).any())


def _forecasts(rows: pd.DataFrame, column: str, ran: "pd.Series[bool] | None" = None) -> Forecasts | None:
    """A column of forecasts with the coin of the run that they needed; None where there
    are none.
    """
    values = rows[column].to_numpy(dtype=np.float64)
    if not rows[["forecast_kept", "forecast_last"]].notna().to_numpy().any():
        return None
    if ran is None:
        return Forecasts(values=values, ran=np.ones(len(rows), dtype=bool), run_propensity=np.ones(len(rows)))
    chance = rows["run_propensity"].to_numpy(dtype=np.float64)
    return Forecasts(values=values, ran=ran.to_numpy(dtype=bool), run_propensity=chance)


def _verdicts(cohort: Cohort) -> "np.typing.NDArray[np.str_]":
    return np.where(cohort.decisions["retained"], "retained", "escalated")

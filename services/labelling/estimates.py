"""What a cohort's labels say, every way they can be read: naive, weighted, clipped, with a
forecast, with a grader.

Figures for people who choose how to label, beside those that `knowgate monitor` keeps. The naive
mean of the labels that happen to be there stands first, since it is what one would believe
otherwise. Where an estimate does not exist the row says "not identified" and why; where it has no
honest interval, why it has none. Labels of a grader or of users are never taken for gold: a
grader's enter as a forecast that the gold and human labels correct.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pandas as pd
from sqlalchemy.orm import Session

from evidence.errors import EvidenceError
from evidence.estimation.estimates import (
    Estimate,
    clipped_inverse_propensity,
    doubly_robust,
    inverse_propensity,
    self_normalised,
)
from evidence.estimation.events import why_no_interval
from evidence.estimation.prediction_powered import (
    GraderErrors,
    corrected_by_error_rates,
    grader_errors,
    prediction_powered,
)
from knowgate._records.records import LabelSource, Window
from monitoring.rows.attempts import COLUMNS
from monitoring.rows.cohorts import cohort_of
from store.ledger.erased import erased_between
from store.releases import cascades
from store.traffic.attempt_columns import uuids
from store.traffic.example_columns import Examples
from store.traffic.examples import labelled
from store.traffic.label_sources import SourcedLabels, labels_by_source

FloatArray = npt.NDArray[np.float64]
ACCURACY, DROP = "accuracy_cascade", "drop"
NO_COIN = "no interval: it takes no account of which decisions have their label"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelEstimate:
    """One figure by one way of reading the labels, with its 95 % interval, or why there is no
    interval, or no figure.
    """

    figure: str  # accuracy_cascade or drop
    method: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    decisions: int = 0
    erased: int = 0  # left out beside them: erased before anything was said of them, so that nothing ever will be
    known: int = 0  # decisions whose value is known; of one that escalated the drop is 0 without a label
    effective_sample_size: float | None = None
    bias_low: float | None = None  # of a clipped estimate: the expectation misses the truth by this at least
    bias_high: float | None = None  # and by this at most; low and high allow for it
    judge_share: float | None = None  # how much of the grader was used
    no_interval: str | None = None  # why low and high are not there though the value is
    not_identified: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelEstimates:
    """Everything that the labels of one window say."""

    cascade: str
    start: datetime
    end: datetime
    as_of: datetime
    mature: bool  # False = labels that are still under way may change every figure
    estimates: tuple[LabelEstimate, ...]
    judge: GraderErrors | None  # where a grader and gold or human labels speak of the same answers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Column:
    """A quantity per decision [n], NaN where unknown, and the chance that it is known."""

    figure: str
    values: FloatArray
    propensity: FloatArray
    low: float


def label_estimates(
    session: Session, cascade: str, window: Window, *, as_of: datetime, largest_weight: float
) -> LabelEstimates:
    """The estimates of accuracy and drop in a window of decision time. Raises CascadeUnknown."""
    spec = cascades.cascade(session, cascade)
    examples = labelled(session, cascade, window, as_of=as_of, columns=COLUMNS, trusted=spec.targets.trusted)
    cohort = cohort_of(examples, spec, window, as_of=as_of)
    sourced = labels_by_source(session, cascade, window, as_of=as_of)
    erased = erased_between(session, cascade, window)
    rows = _within_reach(cohort.decisions, examples, erased)
    estimates: list[LabelEstimate] = []
    errors = None
    if len(rows):
        accuracy, dropped = _columns(rows)
        gold, verdicts = (accuracy.values, accuracy.propensity), _verdicts(rows, sourced)
        for column in (accuracy, dropped):
            estimates.extend(_readings(column, rows, largest_weight))
        errors = _grader_errors(gold, verdicts)
        readable = ~(_are(rows, erased) & np.isnan(verdicts))
        powered = _powered((gold[0][readable], gold[1][readable]), verdicts[readable])
        estimates += [powered, _by_error_rates(verdicts, errors)]
    return LabelEstimates(
        cascade=cascade,
        start=window.start,
        end=window.end,
        as_of=as_of,
        mature=cohort.mature,
        estimates=tuple(replace(one, erased=cohort.size - one.decisions) for one in estimates),
        judge=errors,
    )


def _within_reach(rows: pd.DataFrame, examples: Examples, erased: frozenset[UUID]) -> pd.DataFrame:
    """The decisions that labels speak for.

    Where labels were drawn by coin that is all: the drawn stand for the others, whatever was erased
    since. Who labels all there is cannot label what was erased before; counted, it would pull every
    weighted mean towards 0. What has its label stays, so that an erasure moves no figure.
    """
    labelled = ~np.isnan(examples.correct)
    if not (examples.label_propensity[labelled] == 1.0).all():
        return rows
    lost = erased.difference(uuids(examples.ids[labelled]))
    return rows[~_are(rows, lost)].reset_index(drop=True)


def _are(rows: pd.DataFrame, ids: frozenset[UUID]) -> npt.NDArray[np.bool_]:
    """[n] which of the decisions are among these."""
    among = {one.bytes for one in ids}
    return np.fromiter((one in among for one in rows["id"]), dtype=np.bool_, count=len(rows))


def _columns(rows: pd.DataFrame) -> tuple[_Column, _Column]:
    """The kept answers' correctness, and X, over all decisions."""
    x = rows["x"].to_numpy(dtype=np.float64)
    label = rows["label_propensity"].to_numpy(dtype=np.float64)
    joint = rows["run_propensity"].to_numpy(dtype=np.float64) * label
    return (
        _Column(
            figure=ACCURACY,
            values=rows["correct_kept"].to_numpy(dtype=np.float64),
            propensity=rows["kept_label_propensity"].to_numpy(dtype=np.float64),
            low=0.0,
        ),
        _Column(figure=DROP, values=x, propensity=np.where(np.isnan(x), np.nan, joint), low=-1.0),
    )


def _readings(column: _Column, rows: pd.DataFrame, largest_weight: float) -> list[LabelEstimate]:
    seen = ~np.isnan(column.values)
    n, known = len(seen), int(seen.sum())
    if not known:
        return [_none(column.figure, "naive", n, "no gold or human label tells of it")]
    naive = float(column.values[seen].mean())
    readings = [
        LabelEstimate(figure=column.figure, method="naive", value=naive, decisions=n, known=known, no_interval=NO_COIN)
    ]
    # A census needs no coin. Of rows not seen the chance is not logged: the bound of the bias takes
    # none of them to have had a smaller one than the smallest that was.
    chance = np.ones(n) if seen.all() and np.isnan(column.propensity).all() else column.propensity
    unknown = int(np.isnan(chance[seen]).sum())
    if unknown:
        why = f"{unknown} of {known} have an unknown propensity; draw rows with `knowgate labels queue`"
        return [*readings, _none(column.figure, "self_normalised", n, why, known)]
    logged = np.where(seen, chance, np.nan)
    least = float(chance[seen].min())
    chance = np.where(seen, chance, least)
    readings.append(_row(column.figure, "inverse_propensity", inverse_propensity(column.values, seen, chance)))
    normalised = self_normalised(column.values, seen, chance, reach=(column.low, 1.0))
    readings.append(_row(column.figure, "self_normalised", normalised))
    cut = clipped_inverse_propensity(
        column.values,
        seen,
        logged,
        largest_weight=largest_weight,
        low=column.low,
        high=1.0,
        least_propensity=least,
    )
    clipped = _row(column.figure, f"clipped at {largest_weight:g}", cut.estimate)
    readings.append(replace(clipped, low=cut.lower, high=cut.upper, bias_low=cut.bias_low, bias_high=cut.bias_high))
    if column.figure == ACCURACY:
        readings.append(_robust(column, rows, seen, chance))
    return readings


def _robust(column: _Column, rows: pd.DataFrame, seen: npt.NDArray[np.bool_], chance: FloatArray) -> LabelEstimate:
    """With the logged score as forecast, which was fitted before these decisions were made."""
    score = rows["score"].to_numpy(dtype=np.float64)
    if np.isnan(score).all():
        return _none(column.figure, "doubly_robust", len(score), "no calibrated score is logged as a forecast")
    forecast = np.where(np.isnan(score), float(np.nanmean(score)), score)
    return _row(column.figure, "doubly_robust", doubly_robust(column.values, seen, chance, forecast))


def _powered(gold: tuple[FloatArray, FloatArray], verdicts: FloatArray) -> LabelEstimate:
    n, missing = len(gold[0]), int(np.isnan(verdicts).sum())
    method = "prediction_powered"
    if missing:
        why = f"{missing} of {n} kept answers have no grader's label; make them with `knowgate labels grade`"
        return _none(ACCURACY, method, n, why)
    seen = ~np.isnan(gold[0])
    unknown = int(np.isnan(gold[1][seen]).sum())
    if unknown:
        why = f"{unknown} of {int(seen.sum())} gold labels have an unknown propensity; draw them with `labels queue`"
        return _none(ACCURACY, method, n, why, int(seen.sum()))
    try:
        powered = prediction_powered(verdicts, gold[0], seen, np.where(seen, gold[1], 1.0))
    except EvidenceError as error:
        return _none(ACCURACY, method, n, str(error), int(seen.sum()))
    return LabelEstimate(
        figure=ACCURACY,
        method=method,
        value=powered.value,
        low=powered.lower,
        high=powered.upper,
        decisions=n,
        known=powered.gold,
        effective_sample_size=powered.effective_sample_size,
        judge_share=powered.forecast_share,
        no_interval=why_no_interval(powered.events),
    )


def _by_error_rates(verdicts: FloatArray, errors: GraderErrors | None) -> LabelEstimate:
    """The grader's share of right answers, put right by its two measured error rates (Rogan and
    Gladen).
    """
    method, said = "error_rates", verdicts[~np.isnan(verdicts)]
    if errors is None or errors.wrong_called_right is None or errors.right_called_wrong is None:
        why = (
            "the grader's error rates are not known: trusted labels of right and of wrong answers it judged are needed"
        )
        return _none(ACCURACY, method, len(verdicts), why)
    wrong, right = errors.wrong_called_right, errors.right_called_wrong
    try:
        corrected = corrected_by_error_rates(
            int((said >= 0.5).sum()),
            len(said),
            wrong_called_right=wrong.value,
            right_called_wrong=right.value,
            compared_wrong=wrong.n,
            compared_right=right.n,
        )
    except EvidenceError as error:
        return _none(ACCURACY, method, len(verdicts), str(error), errors.compared)
    return LabelEstimate(
        figure=ACCURACY,
        method=method,
        value=corrected.value,
        low=corrected.lower,
        high=corrected.upper,
        decisions=len(verdicts),
        known=errors.compared,
    )


def _grader_errors(gold: tuple[FloatArray, FloatArray], verdicts: FloatArray) -> GraderErrors | None:
    both = ~np.isnan(gold[0]) & ~np.isnan(verdicts)
    return grader_errors(verdicts[both] >= 0.5, gold[0][both] >= 0.5) if both.any() else None


def _verdicts(rows: pd.DataFrame, labels: SourcedLabels) -> FloatArray:
    """[n] what a grader says of each decision's kept answer; NaN where it said nothing."""
    judged = np.flatnonzero(labels.source == LabelSource.JUDGE.value)
    known = {(labels.decision_id[row], int(labels.tier[row])): float(labels.correct[row]) for row in judged}
    kept = zip(rows["id"], rows["kept_tier"], strict=True)
    return np.array([known.get((UUID(bytes=one), int(tier)), np.nan) for one, tier in kept], dtype=np.float64)


def _row(figure: str, method: str, estimate: Estimate) -> LabelEstimate:
    return LabelEstimate(
        figure=figure,
        method=method,
        value=estimate.value,
        low=estimate.lower,
        high=estimate.upper,
        decisions=estimate.n,
        known=estimate.observed,
        effective_sample_size=estimate.effective_sample_size,
        no_interval=None if estimate.lower is not None else why_no_interval(estimate.events),
    )


def _none(figure: str, method: str, n: int, why: str, known: int = 0) -> LabelEstimate:
    return LabelEstimate(figure=figure, method=method, decisions=n, known=known, not_identified=why)

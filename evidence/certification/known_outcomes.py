"""What was logged of decisions, as certification rows: the one builder, for the trainer, the
command, the comparison with the champion and the look since a risk alarm.

- Where the last tier did not run, the coin that could have run it is the decision's exploration
  rate, or, where nobody says it, the smallest that it ran by. A rate of 0, or a run whose
  propensity nobody logged, is no coin: the row counts once, and as the worst case where its outcome
  is missing. If the last tier ran on every row, it ran with certainty, whatever was logged.
- The first tier may have been run by a coin of its own. A tier in the middle is not: what came
  before it decided, so where it did not run it may have kept anything
  (`knowgate.policy.retain_mask`), outcome unknown.
- A tier that a gate ended before it answered tells as much as it did to whoever served: under
  thresholds that end it too X = 0; under bolder ones its outcome is unknown, unless the exploration
  coin let it answer all the same. That coin is the one that runs the last tier, thrown once for a
  decision, so of their chances the smallest counts, not the product. So it is with a tier that
  nobody waited for, since nothing could be kept then, and that the coin ran beside the last one.
- Whether such a tier that did not answer would have been kept nobody knows. Those that the coin let
  answer speak for it in the retained share (`spoken_for`).
- Labels drawn by coin (a known propensity on every label, some below 1) weigh, those of a decision
  together as it is declared that they are drawn; a row that was not drawn then counts as not
  observed. Otherwise every label was owed, and one that is missing is the worst case.
- Labels drawn to even out the run's coin (`knowgate labels queue`: explored rows first) leave every
  row known with one chance; that is seen in the chances of those that were drawn. Else no row is
  taken to have a smaller one than the smallest that was.
- Labels of sources that are not trusted are forecasts. Trusted labels drawn by a known coin correct
  them; where no such coin is known they are left out, and it is said why.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evidence.certification.certificate import Certification
from evidence.certification.certification_rows import CertificationRows
from evidence.estimation.estimates import joint_label_propensity
from evidence.inputs import BoolArray, FloatArray
from knowgate._bundles.bundle_documents import LabelBasis
from knowgate._records.records import LabelSource, Role

ObjectArray = npt.NDArray[np.object_]

NO_COIN = (
    "not identified: trusted labels have no known label_propensity below 1, so nothing says how to correct the labels"
    " of other sources, and they are left out; draw trusted labels with `knowgate labels queue`, or trust their source"
)
LEAST_COMPARED = 30  # answers with a trusted label and a forecast, before an error rate is read from them
_SAME = 1e-12  # chances this near to each other are one


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoggedRows:
    """n decisions at every tier as they were logged; NaN = unknown."""

    ids: tuple[str, ...]
    ran: BoolArray  # [n, tiers] the tier answered
    agrees: BoolArray  # [n, tiers − 1] the tier's answer is the last tier's
    correct: FloatArray  # [n, tiers] what trusted sources say
    label_propensity: FloatArray  # [n, tiers] of those labels
    # [n, tiers]; where a gate ended the tier early: the chance that it answered all the same.
    run_propensity: FloatArray
    exploration_rate: FloatArray  # [n]
    apart: BoolArray  # [n] each answer's label was drawn by its own coin
    early: BoolArray | None = None  # [n, tiers] a gate ended the tier before it answered; None = nowhere
    forecast: FloatArray | None = None  # [n, tiers] what the other sources say
    label_source: ObjectArray | None = None  # [n, tiers] of `correct`, None where there is no label
    forecast_source: ObjectArray | None = None  # [n, tiers] of `forecast`, likewise


def certification_rows(rows: LoggedRows, forecast_error: float | None = None) -> CertificationRows:
    """The n decisions as certification sees them; at least one is expected.

    `forecast_error` is of other rows (`forecast_error`); it chooses between tests that all hold.
    """
    run, there = run_coin(rows)
    propensity, observed = outcome_coin(rows)
    enter = not _no_forecasts(rows) and forecasts_left_out(rows) is None
    return CertificationRows(
        correct=rows.correct,
        agrees=rows.agrees,
        propensity=propensity,
        observed=observed,
        ids=rows.ids,
        forecast=rows.forecast if enter else None,
        ran=there,
        run_propensity=run,
        forecast_error=forecast_error,
        share_weight=spoken_for(rows),
    )


def agreeing(answers: Sequence[Sequence[str | None]]) -> BoolArray:
    """[n, tiers − 1] whether each tier's answer is the last tier's, of the answers by tier.

    Examples:
        >>> agreeing([["yes", None], ["yes", None]]).tolist()
        [[True], [False]]
    """
    *others, last = answers
    agrees = [[one is not None and one == other for one, other in zip(said, last, strict=True)] for said in others]
    return np.array(agrees, dtype=np.bool_).T


def forecasts_left_out(rows: LoggedRows) -> str | None:
    """Why the labels of sources that are not trusted cannot enter; None where they can, or where
    there are none.
    """
    return NO_COIN if not _no_forecasts(rows) and label_coin(rows) is None else None


def label_basis(rows: LoggedRows, answer: Certification, trusted: Collection[LabelSource]) -> LabelBasis:
    """Whose labels a certificate rests on, counted on the rows that were tested."""
    return LabelBasis(
        trusted=tuple(source for source in LabelSource if source in trusted),
        labels=_counted(rows.label_source),
        forecasts=_counted(rows.forecast_source),
        rows_forecast=answer.rows_forecast,
        forecast_share=answer.forecast_share,
        forecasts_left_out=forecasts_left_out(rows),
    )


def _counted(sources: ObjectArray | None) -> dict[str, int]:
    counted = Counter(() if sources is None else sources.ravel().tolist())
    return {source.value: counted[source] for source in LabelSource if counted[source]}


def forecast_error(rows: LoggedRows) -> float | None:
    """How often a forecast errs where a trusted label speaks of the same answer, among rows that do
    not certify; None where too few are compared, or where it errs as often as a coin.
    """
    if rows.forecast is None:
        return None
    both = np.isfinite(rows.forecast) & np.isfinite(rows.correct)
    if both.sum() < LEAST_COMPARED:
        return None
    error = float(((rows.forecast[both] >= 0.5) != (rows.correct[both] >= 0.5)).mean())
    return error if error < 0.45 else None


def _no_forecasts(rows: LoggedRows) -> bool:
    return rows.forecast is None or not np.isfinite(rows.forecast).any()


def ended_early(roles: ObjectArray) -> BoolArray:
    """[n, tiers] where a gate ended a tier before it answered, whether or not it was let answer to
    learn from; `roles` as they were logged, None where a tier did not run.

    Examples:
        >>> ended_early(np.array([["skipped", "served"], ["exploration", "served"],
        ...     ["served", "exploration"]], dtype=object)).tolist()
        [[True, False], [True, False], [False, False]]
    """
    served = (roles == Role.SERVED).argmax(axis=1)
    before = np.arange(roles.shape[1]) < served[:, None]
    return np.asarray((roles == Role.SKIPPED) | ((roles == Role.EXPLORATION) & before), dtype=np.bool_)


def run_coin(rows: LoggedRows) -> tuple[FloatArray, BoolArray]:
    """[n] the chance that the tiers ran that a coin may have run, NaN = no known coin, and whether
    they did: the first and the last, and those that were ended early.
    """
    if rows.early is None or not rows.early.any():
        return _first_and_last(rows)
    answered = replace(rows, ran=rows.ran | rows.early, run_propensity=np.where(rows.early, 1.0, rows.run_propensity))
    chance, there = _first_and_last(answered)
    ended = np.where(rows.early, rows.run_propensity, np.inf).min(axis=1)  # NaN where one is unknown
    return np.minimum(chance, ended), there & (rows.ran | ~rows.early).all(axis=1)


def spoken_for(rows: LoggedRows) -> FloatArray | None:
    """[n] how many decisions each stands for where it is asked what a candidate keeps; None where
    each stands for itself. Without a logged chance a row stands for itself, and counts as kept.
    """
    if rows.early is None or not rows.early.any():
        return None
    chance = np.where(rows.early, rows.run_propensity, 1.0).min(axis=1)
    answered = (rows.ran | ~rows.early).all(axis=1)
    known = np.isfinite(chance)
    return np.where(known, np.where(answered, 1.0 / np.where(known, chance, 1.0), 0.0), 1.0)


def _first_and_last(rows: LoggedRows) -> tuple[FloatArray, BoolArray]:
    last_ran, chance = rows.ran[:, -1], rows.run_propensity[:, -1]
    rate = np.where(np.isnan(rows.exploration_rate), _smallest(chance[last_ran]), rows.exploration_rate)
    last = np.ones(len(last_ran)) if last_ran.all() else np.where(last_ran, chance, np.where(rate > 0, rate, np.nan))
    first_ran, chance = rows.ran[:, 0], rows.run_propensity[:, 0]
    smallest = _smallest(chance[first_ran])
    if first_ran.all() or np.isnan(smallest):
        return last, last_ran
    return last * np.where(first_ran, chance, smallest), last_ran & first_ran


def _smallest(chances: FloatArray) -> float:
    """The smallest chance that a tier ran by; NaN where none is below 1, or one is unknown: there
    was no known coin.
    """
    smallest = float(chances.min(initial=np.inf))
    return smallest if smallest < 1.0 else np.nan


def outcome_coin(rows: LoggedRows) -> tuple[FloatArray, BoolArray]:
    """[n] the chance that each row's outcomes are known, NaN = no known coin, and
    whether they are.

    Of a row that was not drawn the label's chance is not logged. It does not weigh, but the least
    chance of all rows is the rate of a plain sample of them (`evidence.certification.
    certification_rows`), so a chance taken too small throws known rows away.
    """
    run, observed = run_coin(rows)
    label = label_coin(rows)
    if label is None:
        return run, observed
    settled = rows.agrees.all(axis=1)  # X = 0 without any label: such a row is known as soon as its tiers have run
    drawn = np.isfinite(label)
    known = observed & drawn & ~settled
    rate = _even_rate(rows, run, label, known)
    least = label[known if known.any() else drawn].min()
    undrawn = run * least if rate is None else np.minimum(run, rate)
    return np.where(settled, run, np.where(known, run * label, undrawn)), observed & (drawn | settled)


def _even_rate(rows: LoggedRows, run: FloatArray, label: FloatArray, known: BoolArray) -> float | None:
    """The least of the rates by which labels evened out the run's coin, as `knowgate labels queue`
    draws: min(1, rate / run); None where they were drawn in another way.

    Rows that ran for certain tell the rates, and every labelled row that ran by a coin has to have
    been drawn by one of them. Where no such row is labelled yet nothing tells how they are drawn.
    Which rows are labelled is looked at, never what a label says. Where a few labels only look
    evened out, rows of a smaller chance are still to come: each of them weighs its own chance as
    soon as it is drawn, and with the first of them this is None.
    """
    whole = known & (np.isfinite(rows.correct) | ~rows.ran).all(axis=1)
    certain, by_coin = whole & (run >= 1.0 - _SAME), whole & (run < 1.0 - _SAME)
    if not certain.any() or not by_coin.any():
        return None
    rates = np.unique(label[certain])
    even = np.minimum(run[by_coin, None], rates[None, :])
    alike = np.isclose((run * label)[by_coin, None], even, rtol=1e-6, atol=0.0).any(axis=1)
    return float(rates.min()) if alike.all() else None


def label_coin(rows: LoggedRows) -> FloatArray | None:
    """[n] the chance that a row's answers were all labelled, NaN where they were not drawn; None
    unless labels were drawn by a known coin.

    An answer without a label has no logged chance. Of one coin for the decision it is that of its
    other answers, or the tier's smallest where tiers differ; a row of which the least likely answer
    is labelled was drawn, and a label that is missing there is owed. Coins apart fall by
    themselves: a row is drawn where all of its answers are labelled.
    """
    ran, apart = rows.ran, rows.apart
    labelled = np.isfinite(rows.correct)
    chance = np.where(labelled, rows.label_propensity, np.inf)
    logged = chance[labelled]
    if logged.size == 0 or not np.isfinite(logged).all() or (logged >= 1.0).all():
        return None
    own, of_tier = chance.min(axis=1, keepdims=True), chance.min(axis=0, keepdims=True)
    differs = (labelled & (np.abs(chance - np.minimum(own, 1.0)) > _SAME)).any()
    unlogged = np.minimum(np.where(differs | apart[:, None], of_tier, own), 1.0)
    joint = joint_label_propensity(np.where(labelled, chance, np.where(ran, unlogged, 1.0)), apart)
    drawn = np.where(apart, (labelled | ~ran).all(axis=1), own[:, 0] <= joint + _SAME)
    return np.where(drawn & labelled.any(axis=1), joint, np.nan)

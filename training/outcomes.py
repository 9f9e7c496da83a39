"""What the certification rows know, in the form that `evidence` tests.

Decisions, all on the side of caution:
- Where the last tier did not run, the coin that could have run it is the decision's exploration rate. A rate of 0, or
  a run whose propensity nobody logged, is no coin: the row counts once, and as the worst case where its outcome is
  missing. If the last tier ran on every row, it ran with certainty, whatever was logged.
- Labels drawn by coin (a known propensity on every label, some below 1) weigh, those of a decision together as the
  cascade declares that they are drawn; a row that was not drawn then counts as not observed. Otherwise every label
  was owed, and one that is missing is the worst case.
- A tier in the middle that did not run may have kept anything: such a row counts as kept there, outcome unknown.
- Labels of sources that are not trusted are forecasts. Trusted labels drawn by a known coin correct them; where no such
  coin is known they are left out, and it is said why.
"""

import numpy as np
import numpy.typing as npt

from evidence.certification_rows import CertificationRows
from evidence.estimates import joint_label_propensity
from training.dataset import CascadeRows, TierColumns

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


NO_COIN = (
    "not identified: trusted labels have no known label_propensity below 1, so nothing says how to correct the labels"
    " of other sources, and they are left out; draw trusted labels with `knowgate labels queue`"
)
_SAME = 1e-12  # chances this near to each other are one
LEAST_COMPARED = 30  # answers with a trusted label and a forecast, before an error rate is read from them


def certification_rows(rows: CascadeRows, forecast_error: float | None = None) -> CertificationRows:
    """The n decisions as certification sees them; at least one is expected.

    `forecast_error` is of other rows (`forecast_error_on`); it chooses between tests that all hold.
    """
    last = rows.tiers[-1]
    correct = np.column_stack([tier.correct for tier in rows.tiers])
    agrees = np.column_stack([_agrees(tier, last) for tier in rows.tiers[:-1]])
    run = _run_coin(rows)
    propensity, observed = _coin(rows, agrees, run)
    if forecasts_left_out(rows) is not None or _no_forecasts(rows):
        return CertificationRows(correct=correct, agrees=agrees, propensity=propensity, observed=observed, ids=rows.ids)
    unknown = np.full(rows.n, np.nan)
    return CertificationRows(
        correct=correct,
        agrees=agrees,
        propensity=propensity,
        observed=observed,
        ids=rows.ids,
        forecast=np.column_stack([unknown if tier.forecast is None else tier.forecast for tier in rows.tiers]),
        ran=last.ran,
        run_propensity=run,
        forecast_error=forecast_error,
    )


def forecasts_left_out(rows: CascadeRows) -> str | None:
    """Why the labels of sources that are not trusted cannot enter; None where they can, or where there are none."""
    return NO_COIN if not _no_forecasts(rows) and label_coin(rows) is None else None


def forecast_error_on(rows: CascadeRows, taught: BoolArray) -> float | None:
    """How often a verdict errs where a trusted label speaks of it too, among rows [n] that do not certify; None where
    too few are compared, or where it errs as often as a coin."""
    wrong = [
        np.abs((tier.forecast >= 0.5).astype(np.float64) - (tier.correct >= 0.5))[
            taught & np.isfinite(tier.forecast) & np.isfinite(tier.correct)
        ]
        for tier in rows.tiers
        if tier.forecast is not None
    ]
    compared = np.concatenate(wrong) if wrong else np.empty(0)
    if len(compared) < LEAST_COMPARED:
        return None
    error = float(compared.mean())
    return error if error < 0.45 else None


def _no_forecasts(rows: CascadeRows) -> bool:
    return all(tier.forecast is None or not np.isfinite(tier.forecast).any() for tier in rows.tiers)


def _agrees(tier: TierColumns, last: TierColumns) -> BoolArray:
    return np.array([a is not None and a == b for a, b in zip(tier.answers, last.answers, strict=True)], dtype=bool)


def _run_coin(rows: CascadeRows) -> FloatArray:
    """[n] the chance that the last tier ran; NaN = no known coin."""
    last = rows.tiers[-1]
    if last.ran.all():
        return np.ones(rows.n)
    rate = np.where(rows.exploration_rate > 0, rows.exploration_rate, np.nan)
    return np.where(last.ran, last.run_propensity, rate)


def _coin(rows: CascadeRows, agrees: BoolArray, run: FloatArray) -> tuple[FloatArray, BoolArray]:
    """The chance that each row's outcomes are known, NaN = no known coin, and whether they are."""
    observed = rows.tiers[-1].ran.copy()
    label = label_coin(rows)
    if label is None:
        return run, observed
    settled = agrees.all(axis=1)  # X = 0 without any label: such a row is known as soon as its tiers have run
    drawn = np.isfinite(label)
    label = np.where(drawn, label, label[drawn].min())
    return np.where(settled, run, run * label), observed & (drawn | settled)


def label_coin(rows: CascadeRows) -> FloatArray | None:
    """[n] the chance that a row's answers were all labelled, NaN where they were not drawn; None unless labels were
    drawn by a known coin.

    An answer without a label has no logged chance. Of one coin for the decision it is that of its other answers, or the
    tier's smallest where tiers differ; a row of which the least likely answer is labelled was drawn, and a label
    that is missing there is owed. Coins apart fall by themselves: a row is drawn where all of its answers are labelled.
    """
    ran = np.column_stack([tier.ran for tier in rows.tiers])
    labelled = np.column_stack([np.isfinite(tier.correct) for tier in rows.tiers])
    chance = np.where(labelled, np.column_stack([tier.label_propensity for tier in rows.tiers]), np.inf)
    logged = chance[labelled]
    if logged.size == 0 or not np.isfinite(logged).all() or (logged >= 1.0).all():
        return None
    apart = np.zeros(rows.n, dtype=np.bool_) if rows.coins_apart is None else rows.coins_apart
    own, of_tier = chance.min(axis=1, keepdims=True), chance.min(axis=0, keepdims=True)
    differs = (labelled & (np.abs(chance - np.minimum(own, 1.0)) > _SAME)).any()
    unlogged = np.minimum(np.where(differs | apart[:, None], of_tier, own), 1.0)
    joint = joint_label_propensity(np.where(labelled, chance, np.where(ran, unlogged, 1.0)), apart)
    drawn = np.where(apart, (labelled | ~ran).all(axis=1), own[:, 0] <= joint + _SAME)
    return np.where(drawn & labelled.any(axis=1), joint, np.nan)

"""What the certification rows know, in the form that `evidence` tests.

Decisions, all on the side of caution:
- Where the last tier did not run, the coin that could have run it is the decision's exploration rate. A rate of 0, or
  a run whose propensity nobody logged, is no coin: the row counts once, and as the worst case where its outcome is
  missing. If the last tier ran on every row, it ran with certainty, whatever was logged.
- Labels drawn by coin (a known propensity on every label, some below 1) weigh; a row that was not drawn then counts as
  not observed. Otherwise every label was owed, and one that is missing is the worst case.
- A tier in the middle that did not run may have kept anything: such a row counts as kept there, outcome unknown.
- Labels of sources that are not trusted are forecasts. Trusted labels drawn by a known coin correct them; where no such
  coin is known they are left out, and it is said why.
"""

import numpy as np
import numpy.typing as npt

from evidence.certification_rows import CertificationRows
from training.dataset import CascadeRows, TierColumns

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


NO_COIN = (
    "not identified: trusted labels have no known label_propensity below 1, so nothing says how to correct the labels"
    " of other sources, and they are left out; draw trusted labels with `knowgate labels queue`"
)
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
    settled = agrees.all(axis=1)  # X = 0 without any label
    drawn = np.isfinite(label)
    known = label[drawn]
    label = np.where(drawn, label, known.min())
    return np.where(settled & ~drawn, run, run * label), observed & (drawn | settled)


def label_coin(rows: CascadeRows) -> FloatArray | None:
    """[n] the chance that a row was labelled, NaN where it was not; None unless labels were drawn by a known coin.

    The tiers of one decision are labelled by one draw where their propensities are equal, else by independent ones.
    """
    labelled = [np.isfinite(tier.correct) for tier in rows.tiers]
    anywhere = np.logical_or.reduce(labelled)
    propensities = [
        np.where(has, tier.label_propensity, np.nan) for tier, has in zip(rows.tiers, labelled, strict=True)
    ]
    held = np.concatenate([p[has] for p, has in zip(propensities, labelled, strict=True)])
    if held.size == 0 or not np.isfinite(held).all() or (held >= 1.0).all():
        return None
    joint = np.ones(rows.n)
    previous = np.ones(rows.n)
    for propensity, has in zip(propensities, labelled, strict=True):
        fresh = has & (np.abs(propensity - previous) > 1e-12)
        joint = np.where(fresh, joint * propensity, joint)
        previous = np.where(has, propensity, previous)
    return np.where(anywhere, joint, np.nan)

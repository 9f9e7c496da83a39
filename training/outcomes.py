"""What the certification rows know, in the form that `evidence` tests.

Decisions, all on the side of caution:
- Where the last tier did not run, the coin that could have run it is the decision's exploration rate. A rate of 0, or
  a run whose propensity nobody logged, is no coin: the row counts once, and as the worst case where its outcome is
  missing. If the last tier ran on every row, it ran with certainty, whatever was logged.
- Labels drawn by coin (a known propensity on every label, some below 1) weigh; a row that was not drawn then counts as
  not observed. Otherwise every label was owed, and one that is missing is the worst case.
- A tier in the middle that did not run may have kept anything: such a row counts as kept there, outcome unknown.
"""

import numpy as np
import numpy.typing as npt

from evidence.certification_rows import CertificationRows
from training.dataset import CascadeRows, TierColumns

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def certification_rows(rows: CascadeRows) -> CertificationRows:
    """The n decisions as certification sees them; at least one is expected."""
    last = rows.tiers[-1]
    correct = np.column_stack([tier.correct for tier in rows.tiers])
    agrees = np.column_stack([_agrees(tier, last) for tier in rows.tiers[:-1]])
    propensity, observed = _coin(rows, agrees)
    return CertificationRows(correct=correct, agrees=agrees, propensity=propensity, observed=observed, ids=rows.ids)


def _agrees(tier: TierColumns, last: TierColumns) -> BoolArray:
    return np.array([a is not None and a == b for a, b in zip(tier.answers, last.answers, strict=True)], dtype=bool)


def _coin(rows: CascadeRows, agrees: BoolArray) -> tuple[FloatArray, BoolArray]:
    """The chance that each row's outcomes are known, NaN = no known coin, and whether they are."""
    last = rows.tiers[-1]
    observed = last.ran.copy()
    if last.ran.all():
        run = np.ones(rows.n)
    else:
        rate = np.where(rows.exploration_rate > 0, rows.exploration_rate, np.nan)
        run = np.where(last.ran, last.run_propensity, rate)
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

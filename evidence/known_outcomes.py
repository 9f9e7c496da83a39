"""The chance that a decision's outcomes are known, from the coins that were logged: one definition for certification,
in training and after a risk alarm.

- Where the last tier did not run, the coin that could have run it is the decision's exploration rate. A rate of 0, or
  a run whose propensity nobody logged, is no coin: the row counts once, and as the worst case where its outcome is
  missing. If the last tier ran on every row, it ran with certainty, whatever was logged.
- Labels drawn by coin (a known propensity on every label, some below 1) weigh, those of a decision together as it is
  declared that they are drawn; a row that was not drawn then counts as not observed. Otherwise every label was owed,
  and one that is missing is the worst case.
"""

from dataclasses import dataclass

import numpy as np

from evidence.estimates import joint_label_propensity
from evidence.inputs import BoolArray, FloatArray

_SAME = 1e-12  # chances this near to each other are one


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoggedRows:
    """n decisions at every tier as they were logged."""

    ran: BoolArray  # [n, tiers]
    agrees: BoolArray  # [n, tiers − 1] the tier's answer is the last tier's
    correct: FloatArray  # [n, tiers] NaN = no label
    label_propensity: FloatArray  # [n, tiers] of the labels
    run_propensity: FloatArray  # [n] of the last tier's run
    exploration_rate: FloatArray  # [n]
    apart: BoolArray  # [n] each answer's label was drawn by its own coin


def run_coin(rows: LoggedRows) -> FloatArray:
    """[n] the chance that the last tier ran; NaN = no known coin."""
    last_ran = rows.ran[:, -1]
    if last_ran.all():
        return np.ones(len(last_ran))
    rate = np.where(rows.exploration_rate > 0, rows.exploration_rate, np.nan)
    return np.where(last_ran, rows.run_propensity, rate)


def outcome_coin(rows: LoggedRows) -> tuple[FloatArray, BoolArray]:
    """[n] the chance that each row's outcomes are known, NaN = no known coin, and whether they are."""
    run, observed = run_coin(rows), rows.ran[:, -1].copy()
    label = label_coin(rows)
    if label is None:
        return run, observed
    settled = rows.agrees.all(axis=1)  # X = 0 without any label: such a row is known as soon as its tiers have run
    drawn = np.isfinite(label)
    label = np.where(drawn, label, label[drawn].min())
    return np.where(settled, run, run * label), observed & (drawn | settled)


def label_coin(rows: LoggedRows) -> FloatArray | None:
    """[n] the chance that a row's answers were all labelled, NaN where they were not drawn; None unless labels were
    drawn by a known coin.

    An answer without a label has no logged chance. Of one coin for the decision it is that of its other answers, or the
    tier's smallest where tiers differ; a row of which the least likely answer is labelled was drawn, and a label
    that is missing there is owed. Coins apart fall by themselves: a row is drawn where all of its answers are labelled.
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

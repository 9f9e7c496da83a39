"""What mature rows say of the risk: X, whose label counts, and by which chance it is there.

Where labels are drawn by a coin of known propensity, rows that were not drawn are left out; any
other missing label counts as the best case. Whether there is a coin is remembered by the alarm and
not read off a block: an hour in which no drawn label fell would else be one of harmless answers,
and an alarm that is looked at hourly would go blind. A month after the last drawn label it is
forgotten.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pandas as pd

from knowgate._records.arrays import BoolArray, FloatArray
from knowgate.spec import CascadeSpec, TargetKind
from monitoring.alarms.alarm_memory import STARTS, AlarmMemory

COIN_REMEMBERED = timedelta(days=STARTS)  # after the last label that was drawn by a coin
FORECAST_SHARE = 0.75  # of a grader's forecast: about what a grader that errs on one answer in eight is worth


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskRows:
    """What mature rows say of the risk, each [n]."""

    x: FloatArray
    observed: BoolArray
    propensity: FloatArray
    forecast: FloatArray
    weight: FloatArray  # of the forecast


def read_risk(memory: AlarmMemory, rows: pd.DataFrame, spec: CascadeSpec) -> tuple[AlarmMemory, RiskRows]:
    """The rows, read with what the alarm knows of the coins and with what they show of them
    themselves.
    """
    drawn = np.flatnonzero(labelled_rows(rows, spec) & (_label_propensity(rows, spec) < 1.0))
    coin_seen_at = rows["occurred_at"].iloc[drawn[-1]].to_pydatetime() if len(drawn) else memory.coin_seen_at
    recently = coin_seen_at is not None and rows["occurred_at"].iloc[0] - coin_seen_at < COIN_REMEMBERED
    x, observed, propensity = risk_rows(rows, spec, by_coin=recently)
    forecast, weight = risk_forecasts(rows, spec, observed)
    rate = [spec.exploration_rate] if spec.targets.kind is TargetKind.MAX_ACCURACY_DROP else []
    least = float(np.concatenate([propensity[observed], 1.0 / weight[weight > 0.0], rate]).min())
    memory = replace(
        memory,
        coin_seen_at=coin_seen_at,
        least_propensity=least if memory.least_propensity is None else min(least, memory.least_propensity),
        forecast_share=FORECAST_SHARE if forecast.any() else memory.forecast_share,
    )
    return memory, RiskRows(x=x, observed=observed, propensity=propensity, forecast=forecast, weight=weight)


def labelled_rows(rows: pd.DataFrame, spec: CascadeSpec) -> BoolArray:
    """[n] whether labels tell X, and not equal answers or an escalation."""
    known = rows["correct_kept"].notna().to_numpy() & rows["retained"].to_numpy(dtype=np.bool_)
    if spec.targets.kind is TargetKind.MAX_ACCURACY_DROP:
        known &= rows["explored"].to_numpy(dtype=np.bool_) & rows["correct_last"].notna().to_numpy()
        kept, last, both = (rows[f"{of}label_propensity"].to_numpy(dtype=np.float64) for of in ("kept_", "last_", ""))
        known &= ~((both == 1.0) & (np.minimum(kept, last) != 1.0))  # 0 whatever the labels say
    return np.asarray(known, dtype=np.bool_)


def risk_rows(
    rows: pd.DataFrame, spec: CascadeSpec, *, by_coin: bool = False
) -> tuple[FloatArray, BoolArray, FloatArray]:
    """X, whether it counts, and the joint propensity, each [n], of mature rows; worst case where a
    label is missing.

    For a target of retained accuracy X is 1 − correct of the retained answer, and a missing label
    counts as right. `by_coin`: labels are known to be drawn by a coin, whether or not the rows have
    one that was.
    """
    value, label = rows["x"].to_numpy(dtype=np.float64), _label_propensity(rows, spec)
    ran, chance = rows["last_ran"].to_numpy(dtype=bool), rows["run_propensity"].to_numpy(dtype=np.float64)
    harmless = -1.0
    if spec.targets.kind is TargetKind.RETAINED_ACCURACY:
        value = 1.0 - rows["correct_kept"].to_numpy(dtype=np.float64)
        ran, chance, harmless = np.ones(len(rows), dtype=bool), np.ones(len(rows)), 0.0
    known = ran & ~np.isnan(value)
    drawn = known & ~np.isnan(label)
    # Missing by design only where labels are drawn by a coin whose every propensity is known.
    by_design = (by_coin or bool((label[drawn] < 1.0).any())) and bool(drawn[known].all())
    observed = known if by_design else ran
    x = np.where(known, value, harmless)
    return np.where(observed, x, np.nan), observed, chance * np.where(drawn, label, 1.0)


def risk_forecasts(rows: pd.DataFrame, spec: CascadeSpec, observed: BoolArray) -> tuple[FloatArray, FloatArray]:
    """g and the weight R/ρ of the run that it needed, each [n]; g is 0 where nothing was said, or
    every label was owed.

    Without a coin for labels every row that ran is observed, and a forecast would cancel out.
    """
    retained_accuracy = spec.targets.kind is TargetKind.RETAINED_ACCURACY
    said = rows["forecast_kept" if retained_accuracy else "forecast_x"].to_numpy(dtype=np.float64)
    value = 1.0 - said if retained_accuracy else said
    ran = np.ones(len(rows), dtype=bool) if retained_accuracy else rows["last_ran"].to_numpy(dtype=bool)
    chance = np.ones(len(rows)) if retained_accuracy else rows["run_propensity"].to_numpy(dtype=np.float64)
    usable = ran & np.isfinite(chance)
    if bool((observed == ran).all()):
        return np.zeros(len(rows)), np.ones(len(rows))
    guess = np.where(usable, FORECAST_SHARE * np.nan_to_num(value, nan=0.0), 0.0)
    return guess, np.where(usable, 1.0 / np.where(usable, chance, 1.0), 0.0)


def _label_propensity(rows: pd.DataFrame, spec: CascadeSpec) -> FloatArray:
    """[n] the chance that the labels are there which X needs; NaN where it is unknown."""
    drop = spec.targets.kind is TargetKind.MAX_ACCURACY_DROP
    return rows["label_propensity" if drop else "kept_label_propensity"].to_numpy(dtype=np.float64)

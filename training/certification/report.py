"""What a training run says about its signals and its savings, on rows that taught nothing.

P(T) alone always stands beside what was learned, each with an interval: a probe that adds nothing
must look like it. The gain over P(T) is given three ways, each with an interval for two signals on
the same rows, and once more within slices: beyond P(T) and beyond which kind of question it is
(evidence.signals.signal_gain).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evidence.certification.known_outcomes import ended_early
from evidence.certification.nested_path import Signals
from evidence.costs.savings import Savings, impute_last_cost, predictable_forecast, savings_of
from evidence.signals.calibration import Calibration, calibration_of
from evidence.signals.quality import Figure, auroc, macro_f1
from evidence.signals.signal_gain import LEAST_COMPARED, gain_over
from knowgate._bundles.bundle import SignalGain
from knowgate._records.arrays import BoolArray, FloatArray, IntArray
from knowgate._records.records import Role
from training.rows.dataset import CascadeRows


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalQuality:
    """One signal of one tier against that tier's correctness."""

    tier: int
    signal: str  # p_t, p_ik or score
    auroc: Figure
    macro_f1: Figure  # right predicted at 0.5 and above
    calibration: Calibration
    gain: SignalGain | None  # over P(T); None for P(T) itself, and where not enough rows show both


def signal_quality(
    rows: CascadeRows, signals: Sequence[Signals], *, share: float | None = None
) -> tuple[SignalQuality, ...]:
    """Every signal of every non-last tier, over the rows [n] where it and the label are known.

    `share` is the retained share at which a signal is compared with P(T), over the rows that show
    both (None or 0 = a half). Signals with fewer than 20 such rows, or rows of one class, are left
    out.
    """
    qualities: list[SignalQuality] = []
    for tier, shown in enumerate(signals):
        correct = rows.tiers[tier].correct
        for name in ("p_t", "p_ik", "score"):
            values = shown[name]
            known = np.isfinite(values) & np.isfinite(correct)
            right = correct[known] >= 0.5
            if known.sum() < LEAST_COMPARED or right.all() or not right.any():
                continue
            figure = auroc(values[known], right)
            qualities.append(
                SignalQuality(
                    tier=tier,
                    signal=name,
                    auroc=figure,
                    macro_f1=macro_f1(values[known] >= 0.5, right),
                    calibration=calibration_of(values[known], correct[known]),
                    gain=None
                    if name == "p_t"
                    else gain_over(
                        values, shown["p_t"], correct, tier=tier, signal=name, share=share, slices=rows.slices
                    ),
                )
            )
    return tuple(qualities)


def quality_of(figures: Sequence[SignalQuality], signal: str, tier: int = 0) -> SignalQuality | None:
    """The figures of one signal at one tier, where they are known."""
    return next((one for one in figures if one.signal == signal and one.tier == tier), None)


def cohort_savings(rows: CascadeRows, kept: IntArray, ended: BoolArray | None = None) -> Savings | None:
    """What the policy that keeps decision i at tier kept[i] saves; in USD where every run is
    priced, else in GFLOPs. `ended` [n, tiers − 1] = where it ends a tier before it answers, so that
    the prompt alone is paid for; what such tiers did not write is forecast by what they did.

    Costs of the last tier where it did not run are imputed through the exploration coin
    (evidence.costs.savings). None where costs or coins are unknown.
    """
    for column in ("cost_usd", "gflops"):
        costs = [np.asarray(getattr(tier, column), dtype=np.float64) for tier in rows.tiers]
        if all(np.isfinite(cost[tier.ran]).all() for cost, tier in zip(costs, rows.tiers, strict=True)):
            read = [_cost_of_reading(rows, tier, cost, column) for tier, cost in enumerate(costs[:-1])]
            return _savings(rows, kept, costs, read, ended)
    return None


def _cost_of_reading(rows: CascadeRows, tier: int, cost: FloatArray, column: str) -> FloatArray:
    """[n] what of a run's cost its prompt took: all where it was skipped, NaN where unknown."""
    one = rows.tiers[tier]
    tokens_in = one.tokens_in * (rows.early.get(tier, 1.0) if column == "cost_usd" else 1.0)
    total = tokens_in + one.tokens_out
    share = np.divide(tokens_in, total, out=np.full(rows.n, np.nan), where=total > 0.0)
    return np.where(_skipped(rows, tier), cost, cost * share)


def _skipped(rows: CascadeRows, tier: int) -> BoolArray:
    return np.asarray(rows.tiers[tier].role == Role.SKIPPED, dtype=np.bool_)


def _savings(
    rows: CascadeRows, kept: IntArray, costs: list[FloatArray], read: list[FloatArray], ended: BoolArray | None
) -> Savings | None:
    last = rows.tiers[-1]
    propensity = np.where(last.ran, np.nan_to_num(last.run_propensity, nan=1.0), rows.exploration_rate)
    if last.ran.all():
        propensity = np.ones(rows.n)
    if not last.ran.any() or (propensity <= 0).any():
        return None
    if float(np.nansum(costs[-1])) <= 0:
        return None
    slices = np.array([name or "" for name in rows.slices])
    forecast = predictable_forecast(slices, costs[-1], prior=float(np.nanmean(costs[-1])))
    cost_last = impute_last_cost(forecast, last.ran, propensity, costs[-1])
    spent = np.where(kept == len(rows.tiers) - 1, np.where(last.ran, costs[-1], forecast), 0.0)
    for tier, cost in enumerate(costs[:-1]):
        skipped = _skipped(rows, tier)
        prompt, answer = _filled(read[tier]), _filled(np.where(skipped, np.nan, cost - read[tier]))
        whole = np.where(skipped, prompt + answer, _filled(np.where(skipped, np.nan, cost)))
        stops = np.zeros(rows.n, dtype=np.bool_) if ended is None else ended[:, tier]
        spent = spent + np.where(kept >= tier, np.where(stops, prompt, whole), 0.0)
    weight = _weights(rows, ended)
    spent, cost_last = spent * weight, cost_last * weight
    return savings_of(spent, cost_last, stratum=slices) if float(cost_last.sum()) > 0 else None


def _weights(rows: CascadeRows, ended: BoolArray | None) -> FloatArray:
    """[n] how many decisions each stands for. What a gate ended, and these thresholds would let
    answer, is spoken for by those that answered all the same: nobody knows whether P(T) would have
    kept the others. Without a logged chance they count as kept.
    """
    early = ended_early(np.column_stack([tier.role for tier in rows.tiers]))
    weight = np.ones(rows.n)
    for at, tier in enumerate(rows.tiers[:-1]):
        lets = early[:, at] & np.isfinite(tier.run_propensity)
        if ended is not None:
            lets &= ~ended[:, at]
        chance = np.where(lets, tier.run_propensity, 1.0)
        weight = np.where(lets, np.where(tier.ran, np.maximum(weight, 1.0 / chance), 0.0), weight)
    return weight


def _filled(costs: FloatArray) -> FloatArray:
    """[n] with the mean of the known ones where one is unknown; 0 where all are."""
    known = np.isfinite(costs)
    return np.where(known, costs, costs[known].mean() if known.any() else 0.0)

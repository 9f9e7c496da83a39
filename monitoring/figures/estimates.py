"""Means over a cohort of what was seen on some rows only, within strata whose sizes are known.

How many queries were retained is known exactly; how many of them are labelled yet is no matter of
chance while labels are under way. So a mean is taken within each stratum (Hájek weights 1 /
propensity, `evidence.estimation.estimates`) and the strata are put together by their true shares:
labels that come late on one side do not pull the figure to the other.

An interval widens for few rows as Wilson's does (with the effective number of rows in place of n),
since rows that all agree have a variance of 0 and still prove little. Where no estimate exists the
answer is a reason, not a number. Sources: post-stratification, Cochran, Sampling Techniques (1977),
section 5A.9; Wilson, JASA 22 (1927).
"""

from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from evidence.bounds.binomial import clopper_pearson
from evidence.estimation.estimates import Estimate, self_normalised
from evidence.estimation.prediction_powered import PoweredEstimate, prediction_powered
from knowgate._records.arrays import BoolArray, FloatArray

CONFIDENCE = 0.95
LEAST_GOLD = 10  # trusted labels in a stratum from which on they correct a grader there
_Z = float(ndtri(0.5 + CONFIDENCE / 2.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """A figure with its 95 % interval, or why it has no value, or beside a value no interval."""

    n: int  # rows it rests on
    value: float | None = None
    low: float | None = None
    high: float | None = None
    not_identified: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forecasts:
    """What sources that are not trusted say of the rows [n], NaN = nothing, where the answers ran
    by a known coin.
    """

    values: FloatArray  # [n]
    ran: BoolArray  # [n]
    run_propensity: FloatArray  # [n]


def unidentified(reason: str, n: int = 0) -> Estimated:
    """No value, and why."""
    return Estimated(n=n, not_identified=reason)


def stratified_mean(
    values: npt.ArrayLike,
    propensity: npt.ArrayLike,
    strata: npt.ArrayLike,
    *,
    what: str,
    reach: tuple[float, float] = (0.0, 1.0),
    forecasts: Forecasts | None = None,
) -> Estimated:
    """The mean of `values` [n] over all rows; NaN = not seen. `propensity` [n] counts where a value
    was seen, NaN = unknown. `strata` [n] names groups whose shares are known; `reach` is the
    smallest and largest value possible. `forecasts` are corrected by the values in every stratum
    where they speak of all rows that ran.

    >>> stratified_mean([1, 0, float("nan")], [1, 1, 1], ["a", "a", "a"], what="labels").value
    0.5
    >>> stratified_mean([1.0, float("nan")], [float("nan"), 1], ["a", "a"],
    ...     what="labels").not_identified
    '1 of 1 labels have an unknown propensity; send it with them'
    """
    seen_value = np.asarray(values, dtype=np.float64)
    chance = np.asarray(propensity, dtype=np.float64)
    groups = np.asarray(strata)
    seen = ~np.isnan(seen_value)
    total, used = len(seen_value), int(seen.sum())
    if total == 0:
        return unidentified("no decisions")
    unknown = int((seen & np.isnan(chance)).sum())
    if unknown:
        return unidentified(f"{unknown} of {used} {what} have an unknown propensity; send it with them", used)
    value, variance, between = 0.0, 0.0, 0.0
    for group in np.unique(groups):
        rows = groups == group
        if not (rows & seen).any():
            why = f"no {what} on the {int(rows.sum())} {group} decisions"
            spoken = 0 if forecasts is None else int(np.isfinite(forecasts.values[rows]).sum())
            more = f"; {spoken} labels of sources that are not trusted are forecasts, and need some to correct them"
            return unidentified(why + (more if spoken else ""), used)
        mean, half = _group_mean(seen_value[rows], seen[rows], chance[rows], reach, _within(forecasts, rows))
        share = float(rows.mean())
        value += share * mean
        variance += (share * half) ** 2
        between += share * mean**2
    half = sqrt(variance + _Z**2 * max(between - value**2, 0.0) / total)
    return Estimated(n=used, value=value, low=max(value - half, reach[0]), high=min(value + half, reach[1]))


def share(hits: int, n: int) -> Estimated:
    """hits / n with Wilson's interval.

    >>> share(0, 0).not_identified
    'no decisions'
    >>> round(share(1, 4).high, 3)
    0.699
    """
    if n == 0:
        return unidentified("no decisions")
    p = hits / n
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    return Estimated(n=n, value=p, low=max(0.0, min(centre - half, p)), high=min(1.0, max(centre + half, p)))


def exact_share(hits: int, n: int, *, nothing: str = "no decisions") -> Estimated:
    """hits / n with the exact interval, which a rule can test; without rows, `nothing` is why."""
    if n == 0:
        return unidentified(nothing)
    exact = clopper_pearson(hits, n)
    return Estimated(n=n, value=exact.value, low=exact.lower, high=exact.upper)


def of_part(part: Estimated, hits: int, n: int) -> Estimated:
    """The mean over n rows of a quantity that is `part` on average on `hits` of them and 0 on the
    others.

    >>> of_part(Estimated(n=5, value=0.5, low=0.3, high=0.7), 10, 100).value
    0.05
    """
    if n == 0 or part.value is None or part.low is None or part.high is None:
        return part if n else unidentified("no decisions")
    portion = hits / n
    half = sqrt((portion * (part.high - part.low) / 2) ** 2 + (_Z * part.value) ** 2 * portion * (1 - portion) / n)
    value = portion * part.value
    return Estimated(n=part.n, value=value, low=value - half, high=value + half)


def mean(values: npt.ArrayLike, reach: tuple[float, float] = (0.0, 1.0)) -> Estimated:
    """The plain mean of known values [n]."""
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    return stratified_mean(known, np.ones(len(known)), np.zeros(len(known)), what="values", reach=reach)


def _within(forecasts: Forecasts | None, rows: BoolArray) -> Forecasts | None:
    """The forecasts of a stratum; None unless they speak of all its rows that ran, each by a known
    coin.
    """
    if forecasts is None:
        return None
    values, ran, chance = forecasts.values[rows], forecasts.ran[rows], forecasts.run_propensity[rows]
    whole = ran.any() and np.isfinite(values[ran]).all() and np.isfinite(chance[ran]).all()
    return Forecasts(values=values, ran=ran, run_propensity=chance) if whole else None


def _group_mean(
    values: FloatArray,
    seen: BoolArray,
    propensity: FloatArray,
    reach: tuple[float, float],
    forecasts: Forecasts | None,
) -> tuple[float, float]:
    """A stratum's Hájek mean, or its prediction-powered one, and the half width of its interval."""
    chance = np.where(seen, propensity, 1.0)
    estimate: Estimate | PoweredEstimate = self_normalised(values, seen, chance)
    if forecasts is not None and int(seen.sum()) >= LEAST_GOLD and bool((seen & forecasts.ran == seen).all()):
        ran, low, width = forecasts.ran, reach[0], reach[1] - reach[0]
        label = np.minimum(chance[ran] / np.where(seen[ran], forecasts.run_propensity[ran], 1.0), 1.0)
        powered = prediction_powered(
            (forecasts.values[ran] - low) / width,
            (values[ran] - low) / width,
            seen[ran],
            label,
            weight=1.0 / forecasts.run_propensity[ran],
        )
        estimate = replace(powered, value=low + width * powered.value, standard_error=width * powered.standard_error)
    effective = max(estimate.effective_sample_size, 1.0)
    error = estimate.standard_error if np.isfinite(estimate.standard_error) else (reach[1] - reach[0]) / 2.0
    spread = (reach[1] - reach[0]) ** 2 * _Z**2 / (4 * effective**2)
    half = _Z / (1 + _Z**2 / effective) * sqrt(error**2 + spread)
    return estimate.value, half

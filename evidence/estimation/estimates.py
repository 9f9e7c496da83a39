"""Off-policy estimates: the mean of a quantity that was seen on some rows only, by a coin with a
logged propensity.

Three estimators of one mean. `inverse_propensity` is unbiased and noisy; `self_normalised` (Hájek)
divides by the weights that fell and is the default for rates; `doubly_robust` corrects a forecast
and is the least noisy where one exists. `clipped_inverse_propensity` trades noise for a bias, and
says how large the bias can be. A propensity of zero or unknown means that no estimate exists:
NotIdentifiedError.

Intervals use Student's t with the effective sample size's degrees of freedom, and are left out
where fewer than 20 events were seen (`evidence.estimation.events`): a mean of rare events seen with
large weights is skew, and its normal interval covers far too seldom. Of a self-normalised mean of
values in a known range they are Wilson's, with the effective sample size for n and a jackknife
error, and always there.

Sources: Horvitz & Thompson, JASA 47 (1952); Hájek in Godambe & Sprott (1971); Dudík, Langford & Li
(arXiv 1103.4601); clipping: Ionides, JCGS 17 (2008), Bottou et al., JMLR 14 (2013); effective
sample size: Kish, Survey Sampling (1965); intervals: Wilson, JASA 22 (1927), Korn & Graubard,
Survey Methodology 24 (1998); Efron & Stein, Annals 9 (1981).
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from evidence.errors import InvalidInputError, NotIdentifiedError
from evidence.estimation.events import events_among, why_no_interval
from evidence.inputs import (
    BoolArray,
    FloatArray,
    flag_array,
    known_where_seen,
    number,
    propensity_array,
    real_array,
    same_length,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over all n rows with its interval, or without one (both ends None)."""

    value: float
    standard_error: float
    lower: float | None
    upper: float | None
    n: int  # rows the mean is over
    observed: int  # rows whose value was seen
    events: int  # of them those whose value differs from the commonest one
    effective_sample_size: float  # (Σw)² / Σw² of the seen rows
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClippedEstimate:
    """An estimate with cut weights. Its expectation misses the mean by something in [bias_low,
    bias_high].
    """

    estimate: Estimate  # its interval covers the expectation, not the mean
    largest_weight: float
    clipped_rows: int  # rows, seen or not, whose weight 1/π is cut
    bias_low: float  # expectation − mean is at least this
    bias_high: float  # and at most this
    lower: float | None  # covers the mean: the interval moved by the worst bias on each side
    upper: float | None


def inverse_propensity(
    values: npt.ArrayLike, observed: npt.ArrayLike, propensity: npt.ArrayLike, *, confidence: float = 0.95
) -> Estimate:
    """mean((A/π)·v); values [n] are NaN where not observed.

    Examples:
        >>> inverse_propensity([1.0, float("nan"), 0.0, float("nan")], [1, 0, 1, 0],
        ...     [0.5] * 4).value
        0.5
    """
    values, seen, weight = _checked(values, observed, propensity)
    return _estimate(weight * values, values[seen], weight, confidence)


def self_normalised(
    values: npt.ArrayLike,
    observed: npt.ArrayLike,
    propensity: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    reach: tuple[float, float] | None = None,
) -> Estimate:
    """Σ(A/π)·v / Σ(A/π), with its jackknife error; values [n] are NaN where not observed.

    `reach` is the smallest and largest value possible; with it the interval is Wilson's. In
    simulations of 2000 rows, 3000 times each, 95 % intervals of a mean of .7 to .9 covered .943 to
    .961 at propensities from .05 to .5, and .940 to .949 where these went down to .02 (normal
    intervals: .93 to .95, and .87 to .94).

    Examples:
        >>> round(self_normalised([1.0, 0.0, float("nan")], [1, 1, 0], [0.5, 0.25, 0.5]).value, 4)
        0.3333
    """
    values, seen, weight = _checked(values, observed, propensity)
    if not seen.any():
        raise NotIdentifiedError("observed is false in every row; wait until the coin has shown some")
    mean = float((weight * values).sum() / weight.sum())
    # Leaving a row out moves the mean by its influence over 1 − its share of the weights.
    kept = np.where(weight < weight.sum() * (1.0 - 1e-9), 1.0 - weight / weight.sum(), 1.0)
    influence = weight * (values - mean) / weight.mean() / kept
    influence = influence - influence.mean()
    estimate = _estimate(mean + influence, values[seen], weight, confidence)
    return estimate if reach is None else _within_reach(estimate, reach)


def doubly_robust(
    values: npt.ArrayLike,
    observed: npt.ArrayLike,
    propensity: npt.ArrayLike,
    forecast: npt.ArrayLike,
    *,
    confidence: float = 0.95,
) -> Estimate:
    """mean(g + (A/π)(v − g)): unbiased whatever the forecast g [n], if g was not fitted on these
    rows.

    Examples:
        >>> doubly_robust([1.0, float("nan")], [1, 0], [0.5, 0.5], [0.5, 0.5]).value
        1.0
    """
    values, seen, weight = _checked(values, observed, propensity)
    forecast = real_array("forecast", forecast)
    same_length(values=values, forecast=forecast)
    return _estimate(forecast + weight * (values - forecast), values[seen], weight, confidence)


def clipped_inverse_propensity(
    values: npt.ArrayLike,
    observed: npt.ArrayLike,
    propensity: npt.ArrayLike,
    *,
    largest_weight: float,
    low: float = 0.0,
    high: float = 1.0,
    least_propensity: float | None = None,
    confidence: float = 0.95,
) -> ClippedEstimate:
    """mean(A·min(1/π, M)·v) for values in [low, high]; values [n] are NaN where not observed.

    A row with 1/π > M keeps only Mπ of its value on average, so the bias is −mean((1 − Mπ)₊ v). The
    values lie in [low, high], so it is bounded without seeing any, by the mass cut from each row at
    its own propensity. A row that was not observed may lack it (NaN: nothing is logged of what is
    not drawn): then `least_propensity` says what it is at least, and bounds what is cut there;
    without one nothing does, and all of such a row counts as cut.

    Examples:
        >>> cut = clipped_inverse_propensity([1.0, float("nan")], [1, 0], [0.1, 1.0],
        ...     largest_weight=5.0)
        >>> cut.estimate.value, cut.bias_low, cut.bias_high
        (2.5, -0.25, 0.0)
    """
    stated = 0.0 if least_propensity is None else number("least_propensity", least_propensity, low=0.0, high=1.0)
    cut_at = real_array("propensity", propensity, low=0.0, high=1.0, unknown_allowed=True)
    seen = flag_array("observed", observed)
    same_length(observed=seen, propensity=cut_at)
    unlogged = np.isnan(cut_at) & ~seen
    values, seen, weight = _checked(values, seen, np.where(unlogged, 1.0, cut_at))
    largest = number("largest_weight", largest_weight, low=1.0)
    low, high = number("low", low), number("high", high)
    outside = seen & ((values < low) | (values > high))
    if low > high or outside.any():
        row = int(np.argmax(outside))
        raise InvalidInputError(f"values[{row}] is {values[row]}, outside [{low}, {high}]; give the range it lies in")
    lost = np.maximum(0.0, 1.0 - largest * np.where(unlogged, stated, cut_at))
    cut = np.minimum(weight, largest)
    estimate = _estimate(cut * values, values[seen], cut, confidence)
    # Of a row that loses the share l of v the bias is −l·v; where values may be of either sign both
    # ends count.
    bias_low, bias_high = -float((lost * high).mean()) + 0.0, -float((lost * low).mean()) + 0.0
    if unlogged.any():  # a chance above the stated one cuts less, down to nothing
        bias_low, bias_high = min(bias_low, 0.0), max(bias_high, 0.0)
    return ClippedEstimate(
        estimate=estimate,
        largest_weight=largest,
        clipped_rows=int((lost > 0.0).sum()),
        bias_low=bias_low,
        bias_high=bias_high,
        lower=None if estimate.lower is None else estimate.lower - bias_high,
        upper=None if estimate.upper is None else estimate.upper - bias_low,
    )


def joint_label_propensity(label_propensity: npt.ArrayLike, apart: npt.ArrayLike) -> FloatArray:
    """[n] the chance that all answers of a decision are labelled: the one place where labels of
    tiers are put together.

    Args: label_propensity [n, k] of a decision's answers, NaN = unknown, 1 where no label is
    needed; apart, of all decisions or [n], whether each answer was drawn by a coin of its own. One
    coin labels every answer whose chance lies above what fell, so all of them with the smallest
    chance; coins apart label all of them with the product.

    Examples:
        >>> joint_label_propensity([[0.5, 0.8]], False).tolist(), joint_label_propensity([[0.5,
        ...     0.8]], True).tolist()
        ([0.5], [0.4])
    """
    chances = np.asarray(label_propensity, dtype=np.float64)
    if chances.ndim != 2:
        raise InvalidInputError(f"label_propensity has shape {chances.shape}, expected [decisions, tiers]")
    if (chances < 0.0).any() or (chances > 1.0).any():
        raise InvalidInputError("label_propensity has a chance outside [0, 1]; give what the coin's was")
    joint: FloatArray = np.where(np.asarray(apart, dtype=np.bool_), chances.prod(axis=1), chances.min(axis=1))
    return joint


def _checked(
    values: npt.ArrayLike, observed: npt.ArrayLike, propensity: npt.ArrayLike
) -> tuple[FloatArray, BoolArray, FloatArray]:
    """values with 0 where unseen, seen flags, and weights A/π, all [n]."""
    values = real_array("values", values, unknown_allowed=True)
    seen, chance = flag_array("observed", observed), propensity_array("propensity", propensity)
    same_length(values=values, observed=seen, propensity=chance)
    known_where_seen("values", values, seen)
    return np.where(seen, values, 0.0), seen, seen / chance


def _within_reach(estimate: Estimate, reach: tuple[float, float]) -> Estimate:
    """The estimate with Wilson's interval for a mean in [low, high], at its effective
    sample size.
    """
    low, high = number("reach", reach[0]), number("reach", reach[1])
    if not low < high or not low - 1e-9 <= estimate.value <= high + 1e-9:
        raise InvalidInputError(f"reach is {reach} for a mean of {estimate.value}; give the range of the values")
    effective = max(estimate.effective_sample_size, 1.0)
    t, width = student_quantile(effective, estimate.confidence), high - low
    mean = (estimate.value - low) / width
    error = estimate.standard_error / width if np.isfinite(estimate.standard_error) else 0.5
    centre = (mean + t * t / (2.0 * effective)) / (1.0 + t * t / effective)
    half = t / (1.0 + t * t / effective) * float(np.sqrt(error**2 + t * t / (4.0 * effective**2)))
    below, above = max(min(centre - half, mean), 0.0), min(max(centre + half, mean), 1.0)
    return replace(estimate, lower=low + width * below, upper=low + width * above)


def student_quantile(effective: float, confidence: float) -> float:
    """How many standard errors a two-sided interval reaches, with one degree of freedom less than
    the effective sample size.

    Examples:
        >>> round(student_quantile(10.0, 0.95), 3)
        2.262
    """
    return float(stdtrit(max(effective - 1.0, 1.0), 0.5 + confidence / 2.0))


def _estimate(terms: FloatArray, values: FloatArray, weight: FloatArray, confidence: float) -> Estimate:
    """The mean of the terms [n], with the interval that the seen `values` [m] allow."""
    confidence = number("confidence", confidence, low=0.0, high=0.9999)
    n, mean = len(terms), float(terms.mean())
    error = float(terms.std(ddof=1) / np.sqrt(n)) if n > 1 else float("inf")
    squares = float((weight**2).sum())
    effective = float(weight.sum()) ** 2 / squares if squares > 0.0 else 0.0
    events = events_among(values)
    reach = None if why_no_interval(events) else student_quantile(effective, confidence) * error
    return Estimate(
        value=mean,
        standard_error=error,
        lower=None if reach is None else mean - reach,
        upper=None if reach is None else mean + reach,
        n=n,
        observed=len(values),
        events=events,
        effective_sample_size=effective,
        confidence=confidence,
    )

"""Off-policy estimates: the mean of a quantity that was seen on some rows only, by a coin with a logged propensity.

Three estimators of one mean. `inverse_propensity` is unbiased and noisy; `self_normalised` (Hájek) divides by the
weights that fell and is the default for rates; `doubly_robust` corrects a forecast and is the least noisy where
one exists. A propensity of zero or unknown means that no estimate exists: NotIdentifiedError.

Sources: Horvitz & Thompson, JASA 47 (1952); Hájek in Godambe & Sprott (1971); Dudík, Langford & Li (arXiv 1103.4601);
effective sample size: Kish, Survey Sampling (1965).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from evidence.errors import InvalidInputError, NotIdentifiedError
from evidence.inputs import BoolArray, FloatArray, flag_array, number, propensity_array, real_array, same_length


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over all n rows with its normal interval."""

    value: float
    standard_error: float
    lower: float
    upper: float
    n: int  # rows the mean is over
    observed: int  # rows whose value was seen
    effective_sample_size: float  # (Σw)² / Σw² of the seen rows
    confidence: float


def inverse_propensity(
    values: npt.ArrayLike, observed: npt.ArrayLike, propensity: npt.ArrayLike, *, confidence: float = 0.95
) -> Estimate:
    """mean((A/π)·v); values [n] are NaN where not observed.

    Examples:
        >>> inverse_propensity([1.0, float("nan"), 0.0, float("nan")], [1, 0, 1, 0], [0.5] * 4).value
        0.5
    """
    values, seen, weight = _checked(values, observed, propensity)
    return _estimate(weight * values, seen, weight, confidence)


def self_normalised(
    values: npt.ArrayLike, observed: npt.ArrayLike, propensity: npt.ArrayLike, *, confidence: float = 0.95
) -> Estimate:
    """Σ(A/π)·v / Σ(A/π), with the linearised standard error; values [n] are NaN where not observed.

    Examples:
        >>> round(self_normalised([1.0, 0.0, float("nan")], [1, 1, 0], [0.5, 0.25, 0.5]).value, 4)
        0.3333
    """
    values, seen, weight = _checked(values, observed, propensity)
    if not seen.any():
        raise NotIdentifiedError("observed is false in every row; wait until the coin has shown some")
    mean = float((weight * values).sum() / weight.sum())
    influence = weight * (values - mean) / weight.mean()
    return _estimate(mean + influence, seen, weight, confidence)


def doubly_robust(
    values: npt.ArrayLike,
    observed: npt.ArrayLike,
    propensity: npt.ArrayLike,
    forecast: npt.ArrayLike,
    *,
    confidence: float = 0.95,
) -> Estimate:
    """mean(g + (A/π)(v − g)): unbiased whatever the forecast g [n], if g was not fitted on these rows.

    Examples:
        >>> doubly_robust([1.0, float("nan")], [1, 0], [0.5, 0.5], [0.5, 0.5]).value
        1.0
    """
    values, seen, weight = _checked(values, observed, propensity)
    forecast = real_array("forecast", forecast)
    same_length(values=values, forecast=forecast)
    return _estimate(forecast + weight * (values - forecast), seen, weight, confidence)


def joint_propensity(run_propensity: npt.ArrayLike, label_propensity: npt.ArrayLike) -> FloatArray:
    """[n] the chance that a row's outcome is known: that the tier ran, and that it was labelled given its answers.

    Examples:
        >>> joint_propensity([0.1, 1.0], [0.5, 0.2]).tolist()
        [0.05, 0.2]
    """
    ran = propensity_array("run_propensity", run_propensity)
    labelled = propensity_array("label_propensity", label_propensity)
    same_length(run_propensity=ran, label_propensity=labelled)
    return ran * labelled


def _checked(
    values: npt.ArrayLike, observed: npt.ArrayLike, propensity: npt.ArrayLike
) -> tuple[FloatArray, BoolArray, FloatArray]:
    """values with 0 where unseen, seen flags, and weights A/π, all [n]."""
    values = real_array("values", values, unknown_allowed=True)
    seen, chance = flag_array("observed", observed), propensity_array("propensity", propensity)
    same_length(values=values, observed=seen, propensity=chance)
    missing = seen & np.isnan(values)
    if missing.any():
        row = int(np.argmax(missing))
        raise InvalidInputError(f"values[{row}] is unknown although the row was observed; give its value")
    return np.where(seen, values, 0.0), seen, seen / chance


def _estimate(terms: FloatArray, seen: BoolArray, weight: FloatArray, confidence: float) -> Estimate:
    confidence = number("confidence", confidence, low=0.0, high=0.9999)
    n, mean = len(terms), float(terms.mean())
    error = float(terms.std(ddof=1) / np.sqrt(n)) if n > 1 else float("inf")
    reach = float(ndtri(0.5 + confidence / 2.0)) * error
    squares = float((weight**2).sum())
    return Estimate(
        value=mean,
        standard_error=error,
        lower=mean - reach,
        upper=mean + reach,
        n=n,
        observed=int(seen.sum()),
        effective_sample_size=float(weight.sum()) ** 2 / squares if squares > 0.0 else 0.0,
        confidence=confidence,
    )

"""A cheap grader's labels, made honest by a few labels that can be trusted.

A grader labels everything and is wrong at some rate; gold labels are right and few, drawn by coin.
The plain mean of the grader is biased by its errors, the mean of the gold labels alone is noisy.
`prediction_powered` takes the grader's mean and corrects it by what the gold rows say of its
errors: unbiased however bad the grader is, and the more precise the better it is. The share λ of
the grader that is used is tuned on the same rows (λ = 0 is the gold labels alone), so it is
asymptotically never worse than they are.

Where there is no gold at all, a grader whose error rates are known from elsewhere can be corrected
by them (`corrected_by_error_rates`): that rests on those rates holding here, which nothing on these
rows can tell.

Sources: Angelopoulos, Bates, Fannjiang, Jordan & Zrnic, Science 382 (2023) (prediction-powered
inference); Angelopoulos, Duchi & Zrnic, arXiv 2311.01453 (PPI++, the tuning); Rogan & Gladen,
American Journal of Epidemiology 107 (1978), Lang & Reiczigel, Preventive Veterinary Medicine 113
(2014) (error rates).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from evidence.bounds.binomial import Proportion, clopper_pearson
from evidence.errors import InvalidInputError, NotIdentifiedError
from evidence.estimation.estimates import student_quantile
from evidence.estimation.events import events_among, why_no_interval
from evidence.inputs import (
    BoolArray,
    FloatArray,
    count,
    flag_array,
    known_where_seen,
    number,
    propensity_array,
    real_array,
    same_length,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoweredEstimate:
    """A mean from a grader's and gold labels, with its interval or without one (both ends None),
    and what either alone would have said.
    """

    value: float
    standard_error: float
    lower: float | None
    upper: float | None
    events: int  # gold rows whose gold − λ·forecast differs from the commonest
    n: int  # rows the mean is over, all assessed by the grader
    gold: int  # of them with a gold label
    forecast_share: float  # λ: 0 = gold alone, 1 = the grader in full
    forecast_alone: float  # the grader's mean: biased by its errors
    gold_alone: float  # the weighted mean of the gold labels
    gold_alone_error: float  # its standard error
    effective_sample_size: float  # of the gold rows' weights
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderErrors:
    """How often a grader errs where gold labels are. None = no such row."""

    wrong_called_right: Proportion | None
    right_called_wrong: Proportion | None
    compared: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedShare:
    """A share of right answers from a grader's, through its error rates, with its normal
    interval.
    """

    value: float
    standard_error: float
    lower: float
    upper: float
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Labelled:
    """n rows that a grader assessed, some of them with a gold label."""

    forecast: FloatArray
    gold: FloatArray  # NaN where not seen
    seen: BoolArray
    standing: FloatArray  # what a row weighs among all rows
    drawn: FloatArray  # and among the gold ones: 0 elsewhere


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Means:
    """What the estimate gold − λ·(forecast_on_gold − forecast) is made of, and the influence [n] of
    each row on its two parts.
    """

    gold: float
    forecast: float  # the grader's mean over all rows
    forecast_on_gold: float  # and over the gold rows
    gold_influence: FloatArray
    forecast_influence: FloatArray  # on forecast_on_gold − forecast

    def least_noisy_share(self) -> float:
        """The λ in [0, 1] of least variance; 0 where the grader always says the same."""
        a, b = self.gold_influence, self.forecast_influence
        spread = float(((b - b.mean()) ** 2).mean())
        if spread <= 1e-18:
            return 0.0
        return float(np.clip(((a - a.mean()) * (b - b.mean())).mean() / spread, 0.0, 1.0))


def prediction_powered(
    forecast: npt.ArrayLike,
    gold: npt.ArrayLike,
    observed: npt.ArrayLike,
    propensity: npt.ArrayLike,
    *,
    forecast_share: float | None = None,
    weight: npt.ArrayLike | None = None,
    confidence: float = 0.95,
) -> PoweredEstimate:
    """mean_w(gold) − λ·(mean_w(forecast) − mean(forecast)), mean_w over the gold rows with weights
    1/π (Hájek), without an interval where fewer than 20 gold rows differ from the others in what
    corrects the grader (`evidence.estimation.events`): a grader that was right on all of them may
    still err.

    Args: forecast [n] in [0, 1], known for every row; gold [n] in [0, 1], NaN where not `observed`
    [n]; propensity [n] of a gold label, in (0, 1]; forecast_share λ, None = tuned to the least
    variance within [0, 1]. Raises NotIdentifiedError for fewer than two gold rows or a propensity
    that is 0 or unknown.

    Examples:
        >>> nan = float("nan")
        >>> powered = prediction_powered([1, 1, 0, 1], [1.0, nan, 0.0, nan], [1, 0, 1, 0],
        ...     [0.5] * 4, forecast_share=1.0)
        >>> powered.forecast_alone, powered.gold_alone, powered.value
        (0.75, 0.5, 0.75)
    """
    rows = _labelled(forecast, gold, observed, propensity, weight)
    means = _means(rows)
    used = (
        means.least_noisy_share()
        if forecast_share is None
        else number("forecast_share", forecast_share, low=0.0, high=1.0)
    )
    return _powered(rows, means, used, number("confidence", confidence, low=0.0, high=0.9999))


def grader_errors(forecast: npt.ArrayLike, gold: npt.ArrayLike, *, confidence: float = 0.95) -> GraderErrors:
    """The two error rates of verdicts [n], 0 or 1, where gold labels [n], 0 or 1, are, with exact
    intervals.

    Examples:
        >>> errors = grader_errors([1, 1, 0, 0], [1, 0, 0, 1])
        >>> errors.wrong_called_right.value, errors.right_called_wrong.value
        (0.5, 0.5)
    """
    said, right = flag_array("forecast", forecast), flag_array("gold", gold)
    n = same_length(forecast=said, gold=right)
    return GraderErrors(
        wrong_called_right=_rate(said & ~right, ~right, confidence),
        right_called_wrong=_rate(~said & right, right, confidence),
        compared=n,
    )


def corrected_by_error_rates(
    called_right: int,
    n: int,
    *,
    wrong_called_right: float,
    right_called_wrong: float,
    compared_wrong: int | None = None,
    compared_right: int | None = None,
    confidence: float = 0.95,
) -> CorrectedShare:
    """The share of right answers behind `called_right` of n verdicts of a grader with these error
    rates, cut to [0, 1].

    With `compared_wrong` and `compared_right`, the numbers of answers that the rates were measured
    on, the interval carries their noise as well. Raises NotIdentifiedError where the rates sum to 1
    or more: such a grader tells nothing.

    Examples:
        >>> round(corrected_by_error_rates(70, 100, wrong_called_right=0.2,
        ...     right_called_wrong=0.1).value, 4)
        0.7143
    """
    n = count("n", n, low=1)
    hits = count("called_right", called_right, low=0)
    if hits > n:
        raise InvalidInputError(f"called_right is {hits} of {n}; it counts among the n")
    up = number("wrong_called_right", wrong_called_right, low=0.0, high=1.0)
    down = number("right_called_wrong", right_called_wrong, low=0.0, high=1.0)
    power = 1.0 - up - down
    if power <= 0.0:
        raise NotIdentifiedError(f"the error rates {up} and {down} sum to 1 or more; such a grader tells nothing")
    said = hits / n
    value = (said - up) / power
    variance = said * (1.0 - said) / n / power**2
    variance += _rate_variance(up, compared_wrong, "compared_wrong") * ((1.0 - value) / power) ** 2
    variance += _rate_variance(down, compared_right, "compared_right") * (value / power) ** 2
    error = float(np.sqrt(variance))
    confidence = number("confidence", confidence, low=0.0, high=0.9999)
    reach = float(ndtri(0.5 + confidence / 2.0)) * error
    low, high = min(max(value - reach, 0.0), 1.0), max(min(value + reach, 1.0), 0.0)
    return CorrectedShare(
        value=min(max(value, 0.0), 1.0), standard_error=error, lower=low, upper=high, confidence=confidence
    )


def _labelled(
    forecast: npt.ArrayLike,
    gold: npt.ArrayLike,
    observed: npt.ArrayLike,
    propensity: npt.ArrayLike,
    weight: npt.ArrayLike | None,
) -> _Labelled:
    """The rows as they were given. Raises as `prediction_powered` does."""
    forecast = real_array("forecast", forecast, low=0.0, high=1.0)
    gold = real_array("gold", gold, low=0.0, high=1.0, unknown_allowed=True)
    seen, chance = flag_array("observed", observed), propensity_array("propensity", propensity)
    standing = np.ones(len(forecast)) if weight is None else real_array("weight", weight, low=0.0)
    same_length(forecast=forecast, gold=gold, observed=seen, propensity=chance, weight=standing)
    if int(seen.sum()) < 2:
        raise NotIdentifiedError(f"{int(seen.sum())} gold labels; at least two are needed to correct the grader")
    known_where_seen("gold", gold, seen)
    return _Labelled(forecast=forecast, gold=gold, seen=seen, standing=standing, drawn=standing * seen / chance)


def _means(rows: _Labelled) -> _Means:
    gold = np.where(rows.seen, rows.gold, 0.0)
    counts, share_of_all = rows.standing / rows.standing.mean(), rows.drawn / rows.drawn.mean()
    gold_mean, forecast_mean = float((share_of_all * gold).mean()), float((counts * rows.forecast).mean())
    forecast_on_gold = float((share_of_all * rows.forecast).mean())
    return _Means(
        gold=gold_mean,
        forecast=forecast_mean,
        forecast_on_gold=forecast_on_gold,
        gold_influence=share_of_all * (gold - gold_mean),
        forecast_influence=share_of_all * (rows.forecast - forecast_on_gold) - counts * (rows.forecast - forecast_mean),
    )


def _powered(rows: _Labelled, means: _Means, used: float, confidence: float) -> PoweredEstimate:
    """The estimate with the share `used` of the grader, with the interval that its events allow."""
    value = means.gold - used * (means.forecast_on_gold - means.forecast)
    error = _error(means.gold_influence - used * means.forecast_influence, rows.seen)
    effective = float(rows.drawn.sum()) ** 2 / float((rows.drawn**2).sum())
    events = events_among((rows.gold - used * rows.forecast)[rows.seen])
    # Student's t with the degrees of freedom of the events, which the error is made of, and of the
    # gold rows at most: a handful of either does not make a normal mean.
    quantile = student_quantile(min(effective, events), confidence)
    reach = None if why_no_interval(events) else quantile * error
    return PoweredEstimate(
        value=value,
        standard_error=error,
        lower=None if reach is None else value - reach,
        upper=None if reach is None else value + reach,
        events=events,
        n=len(rows.forecast),
        gold=int(rows.seen.sum()),
        forecast_share=used,
        forecast_alone=means.forecast,
        gold_alone=means.gold,
        gold_alone_error=_error(means.gold_influence, rows.seen),
        effective_sample_size=effective,
        confidence=confidence,
    )


def _error(terms: FloatArray, seen: BoolArray) -> float:
    """The standard error of the terms' mean, a little widened for few gold rows as their residuals
    are too small.
    """
    gold = int(seen.sum())
    return float(terms.std() / np.sqrt(len(terms))) * float(np.sqrt(gold / (gold - 1.0)))


def _rate(hits: BoolArray, among: BoolArray, confidence: float) -> Proportion | None:
    return clopper_pearson(int(hits.sum()), int(among.sum()), confidence=confidence) if among.any() else None


def _rate_variance(rate: float, measured_on: int | None, name: str) -> float:
    return 0.0 if measured_on is None else rate * (1.0 - rate) / count(name, measured_on, low=1)

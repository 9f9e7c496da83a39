"""How soon would an alarm hear of a harm, before there is any?

The watch of `evidence.alarms.alarms` is played through on rows drawn from those before and after
the harm, many runs side by side: independent rows, a Poisson number of them in each hour, the harm
at an hour of the day of its own in each run, and a look at the end of every hour, or of every day
where the rule is read at whole cycles. The rows of an hour add up to the same whatever their order,
so it is enough to draw how often each value comes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evidence.alarms.alarms import AlarmRule, bets, log_wealth
from evidence.inputs import FloatArray, count, number, real_array, same_length

_HOURS = 24
_RUNS = 240  # ten for each hour at which the harm may begin
_VALUES = 32  # that are kept apart; of more, the means of as many parts with the same share


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Increments:
    """What a row counts: D [n] in the rule's range, each with its share of all rows."""

    value: FloatArray
    share: FloatArray  # [n], at least 0, summing to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HearingTime:
    """Hours from a harm to the ring; None where it is not heard before the family's last start."""

    median: float | None
    nine_in_ten: float | None


def increments_of(value: npt.ArrayLike, share: npt.ArrayLike | None = None) -> Increments:
    """Values with their weights [n], scaled to shares; each the same by default.

    Examples:
        >>> increments_of([0.1, -0.2], [3.0, 1.0]).share.tolist()
        [0.75, 0.25]
    """
    d = real_array("value", value)
    weight = np.ones(len(d)) if share is None else real_array("share", share, low=0.0)
    same_length(value=d, share=weight)
    if len(d) <= _VALUES:
        return Increments(value=d, share=weight / weight.sum())
    order = np.argsort(d, kind="stable")
    part = np.minimum(np.cumsum(weight[order]) / weight.sum() * _VALUES, _VALUES - 0.5).astype(np.int64)
    share_of = np.bincount(part, weight[order], minlength=_VALUES)
    mean = np.bincount(part, (weight * d)[order], minlength=_VALUES) / np.where(share_of > 0.0, share_of, 1.0)
    return Increments(value=mean, share=share_of / share_of.sum())


def hours_to_hear(
    rule: AlarmRule,
    healthy: Increments,
    harmed: Increments,
    rows_per_hour: float,
    *,
    healthy_days: int = 10,
    seed: int = 0,
) -> HearingTime:
    """Hours from the harm to the ring, within which half and nine in ten of the runs hear it.

    `healthy_days`: whole days that the family has watched before the day of the harm.

    Examples:
        >>> rule = AlarmRule(name="risk", low=-1.0, high=1.0, alpha=0.02, starts=31)
        >>> harm = increments_of([1.0, -1.0], [0.6, 0.4])
        >>> hours_to_hear(rule, increments_of([-0.1]), harm, 100.0).median
        11.0
        >>> hours_to_hear(rule, increments_of([-0.1]), increments_of([-0.1, 0.05]), 100.0).median
    """
    number("rows_per_hour", rows_per_hour, low=0.0)
    count("healthy_days", healthy_days, low=0)
    rng = np.random.default_rng(seed)
    begins = _HOURS * healthy_days + np.arange(_RUNS) % _HOURS
    at_start = np.zeros((_RUNS, rule.starts, len(bets(rule))))
    capital, heard = np.zeros_like(at_start[:, 0]), np.full(_RUNS, np.inf)
    for day in range(healthy_days):
        at_start[:, day] = capital
        capital += _won(rule, healthy, _HOURS * rows_per_hour, rng)
    for hour in range(_HOURS * healthy_days, _HOURS * rule.starts):
        day = hour // _HOURS
        if hour % _HOURS == 0:
            at_start[:, day] = capital
        harm, won = hour >= begins, _won(rule, harmed, rows_per_hour, rng)
        capital += won if harm.all() else np.where(harm[:, None], won, _won(rule, healthy, rows_per_hour, rng))
        if rule.whole_cycles and (hour + 1) % _HOURS:
            continue
        rings = log_wealth(capital[:, None] - at_start[:, : day + 1], rule.starts) >= -np.log(rule.alpha)
        heard = np.where(rings & harm & np.isinf(heard), hour + 1.0 - begins, heard)
        if np.isfinite(heard).all():
            break
    return HearingTime(median=_within(heard, 0.5), nine_in_ten=_within(heard, 0.9))


def _won(rule: AlarmRule, rows: Increments, number_of: float, rng: np.random.Generator) -> FloatArray:
    """[runs, bets] what so many rows win, in logs."""
    deviation = (rows.value - rule.low) / (rule.high - rule.low) - rule.harmless
    drawn = rng.poisson(number_of * rows.share, (_RUNS, len(rows.share)))
    return np.asarray(drawn @ np.log1p(np.outer(deviation, bets(rule))))


def _within(heard: FloatArray, share: float) -> float | None:
    hours = float(np.quantile(heard, share, method="inverted_cdf"))
    return hours if np.isfinite(hours) else None

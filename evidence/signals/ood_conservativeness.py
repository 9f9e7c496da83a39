"""What the OOD gate costs: does it escalate queries that the small tier would have answered as
well?

S comes from logs alone: how often every other gate passes and ood fails. Whether those escalations
were needed takes the small tier's correctness on escalated queries, labelled by coin: G, and with
it the needless cost. Self-selected labels answer none of this: a null propensity raises
NotIdentifiedError. Hájek weights as in `evidence.estimation.estimates`.

Whichever gate it is that escalates: of the queries that the small tier answers right, do those that
are unlike the reference escalate oftener than like ones of the same score and length? The bins are
of the rows that are right; where only one of the two groups is seen, nothing is compared, and the
mass left out is said. Standardisation: Rothman, Greenland & Lash, Modern Epidemiology (2008), ch. 4
(to the group that is asked about).
"""

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from evidence.errors import NotIdentifiedError
from evidence.estimation.estimates import Estimate, self_normalised
from evidence.inputs import (
    BoolArray,
    FloatArray,
    IntArray,
    flag_array,
    propensity_array,
    real_array,
    same_length,
)

SCORE_BINS, LENGTH_BINS = 8, 3  # of equal mass among the rows that are right; fewer leave scores unlike in a bin


@dataclass(frozen=True, slots=True, kw_only=True)
class OodConservativeness:
    """What the OOD gate alone escalated."""

    share: float  # S, of all decisions
    n: int  # decisions
    only_ood: int  # decisions that only the ood gate escalated
    gain: Estimate | None  # G = E[correct_last − correct_small] on them; None without a label
    as_good: Estimate | None  # P(correct_small ≥ correct_last) on them
    needless_cost: float | None  # extra cost on them · as_good, in the unit of cost
    labels: int  # rows on which G rests


def ood_conservativeness_of(
    other_gates_pass: npt.ArrayLike,
    ood_passes: npt.ArrayLike,
    correct_small: npt.ArrayLike,
    correct_last: npt.ArrayLike,
    propensity: npt.ArrayLike,
    extra_cost: npt.ArrayLike,
) -> OodConservativeness:
    """S, G and the needless cost over decisions [n].

    Args: correct_* in [0, 1], NaN = not labelled; propensity, that both labels are there (used
    where only ood fails); extra_cost, what asking on beyond the small tier cost.

    Examples:
        >>> o = ood_conservativeness_of([1, 1, 0, 1], [0, 0, 0, 1], [1, 0, 1, 1], [1, 1, 1, 1],
        ...     [1.0] * 4, [2.0] * 4)
        >>> o.share, o.gain.value, o.needless_cost
        (0.5, 0.5, 2.0)
    """
    others, passes = flag_array("other_gates_pass", other_gates_pass), flag_array("ood_passes", ood_passes)
    small = real_array("correct_small", correct_small, low=0.0, high=1.0, unknown_allowed=True)
    last = real_array("correct_last", correct_last, low=0.0, high=1.0, unknown_allowed=True)
    chance = real_array("propensity", propensity, low=0.0, high=1.0, unknown_allowed=True)
    cost = real_array("extra_cost", extra_cost, low=0.0)
    n = same_length(other_gates_pass=others, ood_passes=passes, correct_small=small)
    same_length(correct_small=small, correct_last=last, propensity=chance, extra_cost=cost)
    only = others & ~passes
    seen = only & ~np.isnan(small) & ~np.isnan(last)
    gain = as_good = needless = None
    if seen.any():
        gain = self_normalised((last - small)[only], seen[only], chance[only], reach=(-1.0, 1.0))
        known = np.where(seen, (np.nan_to_num(small) >= np.nan_to_num(last)).astype(np.float64), np.nan)
        as_good = self_normalised(known[only], seen[only], chance[only], reach=(0.0, 1.0))
        needless = float(cost[only].sum()) * as_good.value
    return OodConservativeness(
        share=float(only.mean()),
        n=n,
        only_ood=int(only.sum()),
        gain=gain,
        as_good=as_good,
        needless_cost=needless,
        labels=int(seen.sum()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedEscalation:
    """How often right answers are escalated, unlike ones beside like ones of the same score and
    length; both standardised to the bins of the unlike ones.
    """

    unlike: float  # P(escalated | right, unlike) over the bins where both groups are seen
    like: float  # P(escalated | right, like), standardised to those
    difference: float
    difference_low: float  # 95 %, the bins taken as given
    difference_high: float
    ratio: float | None  # unlike / like; None where no like one escalates
    ratio_low: float | None
    ratio_high: float | None
    uncovered: float  # the share of the unlike ones in bins without a like one
    labels: int  # right answers on which it rests, those of uncovered bins among them


def matched_escalation_of(
    escalated: npt.ArrayLike,
    unlike: npt.ArrayLike,
    correct_small: npt.ArrayLike,
    propensity: npt.ArrayLike,
    score: npt.ArrayLike,
    length: npt.ArrayLike,
) -> MatchedEscalation:
    """The matched comparison over answers [n] of the small tier.

    Args: correct_small in [0, 1], NaN = not labelled; propensity, that its label is there; unlike,
    whether the OOD statistic is beyond its limit; score and length, what is matched on. Raises
    NotIdentifiedError where a propensity is unknown, no right answer is unlike, or no bin has both.

    Examples:
        >>> m = matched_escalation_of([1, 1, 1, 0], [1, 1, 0, 0], [1] * 4, [1.0] * 4, [0.5] * 4,
        ...     [10] * 4)
        >>> m.unlike, m.like, m.difference, m.uncovered
        (1.0, 0.5, 0.5, 0.0)
    """
    sent, far = flag_array("escalated", escalated), flag_array("unlike", unlike)
    small = real_array("correct_small", correct_small, low=0.0, high=1.0, unknown_allowed=True)
    seen = ~np.isnan(small)
    given = real_array("propensity", propensity, low=0.0, high=1.0, unknown_allowed=True)
    matched_on = real_array("score", score), real_array("length", length)
    same_length(escalated=sent, unlike=far, correct_small=small, score=matched_on[0], length=matched_on[1])
    same_length(correct_small=small, propensity=given)
    chance = propensity_array("propensity", np.where(seen, given, 1.0))
    right = seen & (np.nan_to_num(small) > 0.0)
    if not (right & far).any():
        raise NotIdentifiedError("no right answer of the small tier is unlike the reference; label more of those")
    weight = small[right] / chance[right]
    bins = _bins(matched_on[0][right], SCORE_BINS) * LENGTH_BINS + _bins(matched_on[1][right], LENGTH_BINS)
    return _standardised(sent[right].astype(np.float64), far[right], weight, bins)


def _bins(values: FloatArray, count: int) -> IntArray:
    """[n] the bin of each value, bins of about equal mass; equal values share one."""
    ordered = np.sort(values)
    inner = ordered[(np.arange(1, count) * len(ordered)) // count]
    return np.asarray(np.searchsorted(inner, values, side="right"), dtype=np.int64)


def _standardised(sent: FloatArray, far: BoolArray, weight: FloatArray, bins: IntArray) -> MatchedEscalation:
    total = float(weight[far].sum())
    rates: list[tuple[float, float, float, float, float]] = []  # mass, then rate and variance of either group
    for one in np.unique(bins):
        inside = bins == one
        groups = [inside & far, inside & ~far]
        if all(group.any() for group in groups):
            (p1, v1), (p0, v0) = (_rate(sent[group], weight[group]) for group in groups)
            rates.append((float(weight[groups[0]].sum()) / total, p1, v1, p0, v0))
    if not rates:
        raise NotIdentifiedError("no like answer has a score and length as the unlike ones have; nothing to compare")
    mass, p1, v1, p0, v0 = np.array(rates).T
    share = mass / mass.sum()
    unlike, like = float(share @ p1), float(share @ p0)
    errors = float(share**2 @ v1), float(share**2 @ v0)
    reach, difference = float(ndtri(0.975)) * sqrt(sum(errors)), unlike - like
    ratio = low = high = None
    if like > 0.0:
        ratio = unlike / like
        if unlike > 0.0:
            spread = float(ndtri(0.975)) * sqrt(errors[0] / unlike**2 + errors[1] / like**2)
            low, high = exp(log(ratio) - spread), exp(log(ratio) + spread)
    return MatchedEscalation(
        unlike=unlike,
        like=like,
        difference=difference,
        difference_low=max(-1.0, difference - reach),
        difference_high=min(1.0, difference + reach),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        uncovered=max(0.0, 1.0 - float(mass.sum())),
        labels=len(sent),
    )


def _rate(sent: FloatArray, weight: FloatArray) -> tuple[float, float]:
    """A group's weighted rate, and the variance of it at a rate moved by two further rows, one of
    each kind (Agresti & Coull): few rows that all escalate would look certain.

    In simulations of 400 to 6000 rows, half of them labelled, 95 % intervals of the difference
    covered .94 to .96.
    """
    rows = float(weight.sum() ** 2 / (weight**2).sum())
    rate = float((weight * sent).sum() / weight.sum())
    guarded = (rate * rows + 1.0) / (rows + 2.0)
    return rate, guarded * (1.0 - guarded) / rows

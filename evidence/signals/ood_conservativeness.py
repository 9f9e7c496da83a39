"""What the OOD gate costs: does it escalate queries that the small tier would have answered as
well?

S comes from logs alone: how often every other gate passes and ood fails. Whether those escalations
were needed takes the small tier's correctness on escalated queries, labelled by coin: G, and with
it the needless cost. Between groups the question is fairness: given the small tier is right, is an
out-of-distribution query escalated more often? That is compared within bins of score and length,
where both groups are seen; what is not seen in both is said. Self-selected labels answer none of
this: a null propensity raises NotIdentifiedError.

Sources: Hájek weights as in `evidence.estimation.estimates`; direct standardisation, Rothman,
Modern Epidemiology, chapter 3.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evidence.errors import InvalidInputError, NotIdentifiedError
from evidence.estimation.estimates import Estimate, self_normalised
from evidence.inputs import BoolArray, FloatArray, flag_array, propensity_array, real_array, same_length
from evidence.signals.ranks import average_ranks as rankdata


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


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalationGap:
    """P(escalated | small tier right) out of and in distribution, standardised over the bins seen
    in both.
    """

    flagged: float
    unflagged: float
    difference: float  # flagged − unflagged
    ratio: float | None  # None where nothing unflagged is escalated
    uncovered: float  # weight share of rows right at the small tier in bins where only one group is seen
    labels: int


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
        gain = self_normalised((last - small)[only], seen[only], chance[only])
        known = np.where(seen, (np.nan_to_num(small) >= np.nan_to_num(last)).astype(np.float64), np.nan)
        as_good = self_normalised(known[only], seen[only], chance[only])
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


def escalation_gap(
    escalated: npt.ArrayLike,
    flagged: npt.ArrayLike,
    correct_small: npt.ArrayLike,
    propensity: npt.ArrayLike,
    score: npt.ArrayLike,
    length: npt.ArrayLike,
    bins: int = 5,
) -> EscalationGap:
    """The gap over rows [n]; flagged = O, the length-adjusted OOD flag; propensity, that
    correct_small is labelled.

    Bins are quantiles of score and of length among labelled rows that the small tier has right; the
    standard weights are those of all such rows in bins where both groups are seen.

    Raises NotIdentifiedError where no bin holds both groups.

    Examples:
        >>> gap = escalation_gap([1, 1, 0, 1], [1, 1, 0, 0], [1, 1, 1, 1], [1.0] * 4, [0.5] * 4,
        ...     [9.0] * 4, bins=1)
        >>> gap.flagged, gap.unflagged, gap.difference, gap.ratio, gap.uncovered
        (1.0, 0.5, 0.5, 2.0, 0.0)
    """
    gone, out = flag_array("escalated", escalated), flag_array("flagged", flagged)
    small = real_array("correct_small", correct_small, low=0.0, high=1.0, unknown_allowed=True)
    weight = 1.0 / propensity_array("propensity", propensity)
    score, length = real_array("score", score), real_array("length", length, low=0.0)
    same_length(escalated=gone, flagged=out, correct_small=small, propensity=weight, score=score, length=length)
    rows = np.flatnonzero(np.nan_to_num(small, nan=0.0) > 0.0)
    if rows.size == 0:
        raise NotIdentifiedError("no labelled row is right at the small tier; label some by coin first")
    weight = weight[rows] * small[rows]  # a half-right row counts half
    cells = _quantile_bins(score[rows], bins) * bins + _quantile_bins(length[rows], bins)
    return _standardised(gone[rows], out[rows], weight, cells)


def _standardised(gone: BoolArray, out: BoolArray, weight: FloatArray, cells: npt.NDArray[np.int64]) -> EscalationGap:
    size = int(cells.max()) + 1
    mass = [np.bincount(cells, weights=weight * group, minlength=size) for group in (out, ~out)]
    hits = [np.bincount(cells, weights=weight * group * gone, minlength=size) for group in (out, ~out)]
    both = (mass[0] > 0.0) & (mass[1] > 0.0)
    if not both.any():
        raise NotIdentifiedError("no bin of score and length holds both groups; use fewer bins or wait for more labels")
    standard = (mass[0] + mass[1])[both]
    total = float(standard.sum())
    rates = [float((standard * hit[both] / part[both]).sum()) / total for hit, part in zip(hits, mass, strict=True)]
    return EscalationGap(
        flagged=rates[0],
        unflagged=rates[1],
        difference=rates[0] - rates[1],
        ratio=rates[0] / rates[1] if rates[1] > 0.0 else None,
        uncovered=1.0 - total / float(weight.sum()),
        labels=len(weight),
    )


def _quantile_bins(values: FloatArray, bins: int) -> npt.NDArray[np.int64]:
    """[n] the quantile bin of each value, 0 to bins − 1; equal values share the bin of their mean
    rank.
    """
    if bins < 1:
        raise InvalidInputError(f"bins is {bins}, expected at least 1; 5 is usual")
    return (bins * (rankdata(values) - 0.5) / len(values)).astype(np.int64)

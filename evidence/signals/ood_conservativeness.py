"""What the OOD gate costs: does it escalate queries that the small tier would have answered as
well?

S comes from logs alone: how often every other gate passes and ood fails. Whether those escalations
were needed takes the small tier's correctness on escalated queries, labelled by coin: G, and with
it the needless cost. Self-selected labels answer none of this: a null propensity raises
NotIdentifiedError. Hájek weights as in `evidence.estimation.estimates`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evidence.estimation.estimates import Estimate, self_normalised
from evidence.inputs import flag_array, real_array, same_length


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

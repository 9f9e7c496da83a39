"""The promotion check's statistics: is a challenger at most ε less accurate than the champion, on the same queries?

The same exact test as for thresholds, on paired rows: X = correct_champion − correct_challenger, 0 without a label
where both serve the same answer, and +1 where nothing is known. Savings stand beside it, they do not enter the test.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evidence.exact_drop import drop_exceeds, drop_refuted, drop_upper_bound
from evidence.inputs import flag_array, level, number, real_array, same_length


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedComparison:
    """A challenger beside the champion on n shared queries."""

    passed: bool  # a drop above epsilon is refuted at level delta
    harmful: bool  # a drop above epsilon is shown at level delta
    estimated_drop: float  # champion − challenger, unknown rows counted as +1
    drop_upper_bound: float
    epsilon: float
    delta: float
    n: int
    champion_only_right: int
    challenger_only_right: int
    rows_assumed_wrong: int


def compare_paired(
    champion_correct: npt.ArrayLike,
    challenger_correct: npt.ArrayLike,
    epsilon: float,
    delta: float,
    *,
    same_answer: npt.ArrayLike | None = None,
) -> PairedComparison:
    """The exact test of a challenger's accuracy drop against the champion.

    Args: correctness [n] of what each would have served, 0, 1 or NaN = unknown; same_answer [n], both serve the same.

    Examples:
        >>> c = compare_paired([1] * 980 + [0] * 20, [1] * 978 + [0] * 12 + [1] * 10, 0.02, 0.1)
        >>> c.passed, c.estimated_drop
        (True, -0.008)
    """
    champion = real_array("champion_correct", champion_correct, low=0.0, high=1.0, unknown_allowed=True)
    challenger = real_array("challenger_correct", challenger_correct, low=0.0, high=1.0, unknown_allowed=True)
    n = same_length(champion_correct=champion, challenger_correct=challenger)
    for name, correct in (("champion_correct", champion), ("challenger_correct", challenger)):
        flag_array(name, np.nan_to_num(correct, nan=0.0))
    x = champion - challenger
    if same_answer is not None:
        same = flag_array("same_answer", same_answer)
        same_length(champion_correct=champion, same_answer=same)
        x = np.where(same, 0.0, x)
    unknown = int(np.isnan(x).sum())
    plus, minus = int((x == 1.0).sum()) + unknown, int((x == -1.0).sum())
    epsilon, delta = number("epsilon", epsilon, low=0.0, high=1.0), level("delta", delta)
    passed, bound = drop_refuted(plus, minus, n, epsilon, delta), drop_upper_bound(plus, minus, n, delta)
    return PairedComparison(
        passed=passed,
        harmful=drop_exceeds(plus, minus, n, epsilon, delta),
        estimated_drop=(plus - minus) / n,
        drop_upper_bound=min(bound, epsilon) if passed else bound,
        epsilon=epsilon,
        delta=delta,
        n=n,
        champion_only_right=plus - unknown,
        challenger_only_right=minus,
        rows_assumed_wrong=unknown,
    )

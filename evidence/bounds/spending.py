"""How an error level is spent over the attempts of one family.

A certificate that is renewed every week on overlapping rows breaks its promise in some week of a
year with probability .90 if each week has the whole δ to itself. Who promises that no week is
broken and tests anew each time spends it: the k-th attempt gets 6δ/(π²k²), and the shares add up to
δ over all attempts that will ever be made, failed ones counted too. Who keeps counters
(`evidence.certification.season`) or promises it of any given week
(`evidence.certification.rolling`) has the whole δ.
Source: Σ 1/k² = π²/6, union bound.
"""

import math
from collections.abc import Sequence

from evidence.inputs import count, level


def delta_asked(delta: float, asked: Sequence[float]) -> float:
    """The level of an attempt that somebody asks for between two turns of a rolling promise, after
    others that were asked for at these levels: δ/4, then δ/8, and so on.

    Who asks may have seen what the last attempt gave, so the weeks until the next turn may be
    broken by either; the next turn pays it back (`delta_of_turn`).

    Examples:
        >>> delta_asked(0.1, []), delta_asked(0.1, [0.025])
        (0.025, 0.0125)
    """
    return level("delta", delta) / 2.0 ** (len(asked) + 2)


def delta_of_turn(delta: float, asked: Sequence[float]) -> float:
    """The level of an attempt that nobody asked for: δ less what was asked for since the one
    before, so that two neighbouring ones and all between have 2δ together; never below δ/2.

    Examples:
        >>> delta_of_turn(0.1, []), round(delta_of_turn(0.1, [0.025, 0.0125]), 4)
        (0.1, 0.0625)
    """
    return level("delta", delta) - sum(asked)


def delta_for_attempt(delta: float, attempt: int) -> float:
    """The level of the `attempt`-th test (from 1) of a family whose promise is δ: 6δ/(π²k²).

    Examples:
        >>> round(delta_for_attempt(0.1, 1), 4), round(delta_for_attempt(0.1, 2), 4)
        (0.0608, 0.0152)
    """
    return 6.0 * level("delta", delta) / (math.pi**2 * count("attempt", attempt, low=1) ** 2)


def alpha_for_start_month(alpha: float, month: int) -> float:
    """The level of the alarm family that starts in the `month`-th month (from 1) of a rule's life:
    6α/(π²m²).

    Examples:
        >>> round(sum(alpha_for_start_month(0.05, m) for m in range(1, 10_000)), 4)
        0.05
    """
    return 6.0 * level("alpha", alpha) / (math.pi**2 * count("month", month, low=1) ** 2)

"""What candidates are worth: what they save of the last tier's cost, or, where costs are unknown,
what they keep from the last tier.

What costs follow from no label, and every candidate that is compared here has been certified for
itself, so whichever is taken keeps the promise with confidence 1 − δ.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from evidence.certification.nested_path import Signals
from evidence.inputs import BoolArray, IntArray
from knowgate.policy import Policy, kept_tiers

Saves: TypeAlias = Callable[[IntArray, Policy], float | None]
"""The share of the last tier's cost that is saved where row i is kept at tier kept[i], as a policy
says; None = costs are unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What one policy is worth on some rows."""

    value: float  # what policies are compared by
    savings: float | None  # None = costs are unknown


def worth_of(policy: Policy, signals: Sequence[Signals], saves: Saves, *, ran: BoolArray | None = None) -> Worth:
    """What the policy is worth on these rows.

    Examples:
        >>> from knowgate.policy import PolicyKind
        >>> policy = Policy.of(PolicyKind.P_T, ({"p_t": 0.9},))
        >>> worth_of(policy, [{"p_t": np.array([0.95, 0.6])}], lambda *_: None)
        Worth(value=0.5, savings=None)
    """
    kept = kept_tiers(policy, signals, ran)
    savings = saves(kept, policy)
    return Worth(value=float((kept < len(signals)).mean()) if savings is None else savings, savings=savings)


def saves_most(
    policies: Sequence[Policy], signals: Sequence[Signals], saves: Saves, *, ran: BoolArray | None = None
) -> tuple[int, float | None]:
    """Which of the policies saves most on these rows, the first of equals, and what it saves; where
    costs are unknown, which keeps most from the last tier.

    Examples:
        >>> from knowgate.policy import PolicyKind
        >>> strict, bold = (Policy.of(PolicyKind.P_T, ({"p_t": at},)) for at in (0.9, 0.5))
        >>> saves_most([strict, bold], [{"p_t": np.array([0.95, 0.6])}], lambda *_: None)
        (1, None)
    """
    worths = [worth_of(policy, signals, saves, ran=ran) for policy in policies]
    best = int(np.argmax([worth.value for worth in worths]))
    return best, worths[best].savings

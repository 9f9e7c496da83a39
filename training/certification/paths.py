"""How fast the gates of the `gates` rule open beside each other, learned on rows that do not
certify.

One signal per tier has a natural order, its quantiles (`evidence.certification.path`). Two signals
may open at different speeds, so a speed is learned on calibration and validation rows; the
quantiles then come from the certification rows' signals, without a label.
"""

from collections.abc import Mapping

import numpy as np

from evidence.certification.nested_path import Signals, entry_points
from evidence.certification.path import path_of
from knowgate._records.arrays import FloatArray
from knowgate.policy import Policy, PolicyKind

CAUTION = 1.28  # standard errors above the estimated drop, when speeds are compared
SPEEDS: tuple[Mapping[str, float], ...] = (  # the first of those that retain equally is taken; infinity = an open gate
    {"p_ik": 1.0, "p_t": 1.0},
    {"p_ik": np.inf, "p_t": 1.0},
    {"p_ik": 4.0, "p_t": 1.0},
    {"p_ik": 2.0, "p_t": 1.0},
    {"p_ik": 1.4, "p_t": 1.0},
    {"p_ik": 1.0, "p_t": 1.4},
    {"p_ik": 1.0, "p_t": 2.0},
    {"p_ik": 1.0, "p_t": 4.0},
)


def learn_speed(
    signals: Signals, correct: FloatArray, correct_last: FloatArray, target_drop: float
) -> Mapping[str, float]:
    """The speed whose path retains most within the target on these rows [n], which must not
    certify.

    Rows without both outcomes are left out. Ties, also where nothing can be retained, go to equal
    speeds.
    """
    known = np.isfinite(correct) & np.isfinite(correct_last)
    signals = {name: values[known] for name, values in signals.items()}
    drop = correct_last[known] - correct[known]
    best, chosen = 0.0, SPEEDS[0]
    for speed in SPEEDS:
        path = path_of(PolicyKind.GATES, [signals], speed=speed)
        if not path:
            continue
        entry = entry_points([Policy(kind=PolicyKind.GATES, rules=rules) for rules in path], [signals])[:, 0]
        kept, mean, square = (
            np.cumsum(np.bincount(entry, weights, len(path) + 1))[: len(path)] / len(drop)
            for weights in (np.ones(len(drop)), drop, drop**2)
        )
        within = mean + CAUTION * np.sqrt(np.maximum(square - mean**2, 0.0) / len(drop)) <= target_drop
        reached = float(kept[within].max(initial=0.0))
        if reached > best:
            best, chosen = reached, speed
    return chosen

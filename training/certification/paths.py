"""How fast the gates of the `gates` rule, and the tiers of a chain, open beside each other, learned
on rows that do not certify.

One signal per tier has a natural order, its quantiles (`evidence.certification.path`). Two signals
may open at different speeds, so a speed is learned on calibration and validation rows; the
quantiles then come from the certification rows' signals, without a label.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from evidence.certification.certification_rows import CertificationRows
from evidence.certification.nested_path import NestedCounts, Signals, entry_points
from evidence.certification.path import pace_of, path_of
from evidence.certification.worth import Saves, worth_of
from knowgate._records.arrays import BoolArray, FloatArray
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
PACES = (1.0, 2.0, 0.5, 0.25, 0.125, 0.0)  # of a tier beside the next one; of equals the first is taken


SPACING = 8  # of the levels whose savings are compared in training, where the boldest need not save most


def learn_pace(
    kind: PolicyKind,
    signals: Sequence[Signals],
    rows: CertificationRows,
    target_drop: float,
    saves: Saves,
    *,
    ran: BoolArray | None = None,
    speed: Mapping[str, float] | None = None,
    ends_early: bool = False,
) -> tuple[float, ...]:
    """Per non-last tier the pace whose path saves most within the target on these rows [n], which
    must not certify; what is unknown of them counts as it does in a certificate, and `ends_early`
    is what `evidence.certification.chain.certify_chain` has it for.

    Where costs are unknown, what keeps most from the last tier stands for what saves most. Ties,
    also where nothing can be retained, go to equal paces.
    """
    best, chosen = 0.0, pace_of(PACES[0], len(signals))
    for each in PACES:
        pace = pace_of(each, len(signals))
        path = path_of(kind, signals, speed=speed, pace=pace)
        if not path:
            continue
        entry = entry_points([Policy(kind=kind, rules=rules) for rules in path], signals, ran)
        counts = NestedCounts(len(path), entry, rows)
        if counts.n == 0:
            continue
        mean, square = (counts.plus - counts.minus) / counts.n, (counts.plus + counts.minus) / counts.n
        within = mean + CAUTION * np.sqrt(np.maximum(square - mean**2, 0.0) / counts.n) <= target_drop
        if not within.any():
            continue
        policies = [Policy(kind=kind, rules=path[at]) for at in _compared(within, ends_early)]
        worth = max(worth_of(policy, signals, saves, ran=ran).value for policy in policies)
        if worth > best:
            best, chosen = worth, pace
    return chosen


def learn_speed(
    signals: Signals,
    correct: FloatArray,
    correct_last: FloatArray,
    target_drop: float,
    *,
    saves: Saves | None = None,
    ran: BoolArray | None = None,
) -> Mapping[str, float]:
    """The speed whose path retains most within the target on these rows [n], which must not
    certify; with `saves` the one that saves most, since a gate that ends the tier before it answers
    saves what it would have written. `ran` [n, tiers] says for that which tiers answered.

    Rows without both outcomes are left out. Ties, also where nothing can be retained, go to equal
    speeds.
    """
    known, everything = np.isfinite(correct) & np.isfinite(correct_last), signals
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
        if saves is not None and reached > 0.0:
            policies = [Policy(kind=PolicyKind.GATES, rules=path[at]) for at in _compared(within, True)]
            reached = max(worth_of(policy, [everything], saves, ran=ran).value for policy in policies)
        if reached > best:
            best, chosen = reached, speed
    return chosen


def _compared(within: BoolArray, ends_early: bool) -> list[int]:
    """The levels whose savings are compared: the boldest within the target, and every eighth below
    it where a gate may end a tier before it answers.
    """
    levels = np.flatnonzero(within)[::-1]
    return [int(at) for at in (levels[::SPACING] if ends_early else levels[:1])]

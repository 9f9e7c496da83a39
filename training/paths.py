"""The order in which candidates are tried, from conservative to bold, fixed before the certification rows are labelled.

One signal per tier has a natural order: its quantiles, all tiers at the same level. The `gates` rule has two signals
that may open at different speeds, so a speed is learned on calibration and validation rows; the quantiles then come
from the certification rows' signals, without a label. The OOD gate stands at a fixed percentile.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from evidence.certificate import GateThreshold, Thresholds
from evidence.path import equal_quantile_path
from knowgate.policy import Policy, PolicyKind, retain_mask

FloatArray = npt.NDArray[np.float64]
Signals = Mapping[str, FloatArray]
POINTS = 240
OOD_AT_MOST = 0.99  # of the reference distribution
CAUTION = 1.28  # standard errors above the estimated drop, when speeds are compared
# How fast p_ik and p_t open: the share that passes each gate, at a level u, is min(1, speed · u). Infinity = no gate.
SPEEDS: tuple[tuple[float, float], ...] = (
    (np.inf, 1.0),
    (4.0, 1.0),
    (2.0, 1.0),
    (1.4, 1.0),
    (1.0, 1.0),
    (1.0, 1.4),
    (1.0, 2.0),
    (1.0, 4.0),
)


def path_of(kind: PolicyKind, signals: Sequence[Signals], speed: tuple[float, float] = (1.0, 1.0)) -> list[Thresholds]:
    """The candidates of a rule over signals [n] per non-last tier; empty where a tier lacks a signal altogether."""
    wanted = ("p_ik", "p_t") if kind is PolicyKind.GATES else (str(kind),)
    if any(not np.isfinite(tier[name]).any() for tier in signals for name in wanted):
        return []
    if kind is not PolicyKind.GATES:
        return equal_quantile_path([{wanted[0]: tier[wanted[0]]} for tier in signals], POINTS)
    path: list[Thresholds] = []
    for at in range(1, POINTS + 1):
        thresholds = tuple(_gates(tier, at / POINTS, speed) for tier in signals)
        if not path or thresholds != path[-1]:
            path.append(thresholds)
    return path


def policy_of(kind: PolicyKind, thresholds: Thresholds, fallback: Policy | None) -> Policy:
    """The policy with these thresholds."""
    rows = tuple(None if tier is None else {gate.gate: gate.value for gate in tier} for tier in thresholds)
    return Policy.of(kind, rows, fallback)


def learn_speed(
    signals: Signals, correct: FloatArray, correct_last: FloatArray, target_drop: float
) -> tuple[float, float]:
    """The speed whose path retains most within the target on these rows [n], which must not certify.

    Rows without both outcomes are left out. Ties, also where nothing can be retained, go to equal speeds.
    """
    known = np.isfinite(correct) & np.isfinite(correct_last)
    signals = {name: values[known] for name, values in signals.items()}
    drop = correct_last[known] - correct[known]
    best, chosen = 0.0, (1.0, 1.0)
    for speed in sorted(SPEEDS, key=lambda pair: pair != (1.0, 1.0)):
        reached = 0.0
        for thresholds in path_of(PolicyKind.GATES, [signals], speed):
            kept = retain_mask(policy_of(PolicyKind.GATES, thresholds, None), signals)
            x = np.where(kept, drop, 0.0)
            if x.mean() + CAUTION * x.std() / np.sqrt(len(x)) <= target_drop:
                reached = max(reached, float(kept.mean()))
        if reached > best:
            best, chosen = reached, speed
    return chosen


def _gates(tier: Signals, level: float, speed: tuple[float, float]) -> tuple[GateThreshold, ...]:
    gates = [
        GateThreshold(gate=name, value=_quantile(tier[name], min(1.0, level * fast)))
        for name, fast in zip(("p_ik", "p_t"), speed, strict=True)
    ]
    if np.isfinite(tier["ood"]).any():
        gates.append(GateThreshold(gate="ood", value=OOD_AT_MOST))
    return tuple(gates)


def _quantile(values: FloatArray, passing: float) -> float:
    """The value that a share `passing` of the known rows reaches; 0 = every row, whatever it shows."""
    if passing >= 1.0:
        return 0.0
    known = np.sort(values[np.isfinite(values)])
    return float(known[len(known) - max(1, int(np.ceil(passing * len(known) - 1e-9)))])

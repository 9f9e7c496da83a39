"""The path of candidates that a certification walks, fixed before any label is looked at.

One gate has a natural order, from the highest threshold down, and its grid comes from scores alone.
Several gates, or several tiers, need a one-dimensional path through the plane of thresholds: here
the gates open together, at equal quantile levels of their signals, which again needs no label. A
path learned from labels is as good, if those labels are of other rows
(`certify_policy(learned_on=…)` refuses the same ones): so gates may open at speeds of their own.
The OOD gate does not open: it stands at a fixed percentile.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from evidence.certification.certificate import Thresholds
from evidence.errors import InvalidInputError
from evidence.inputs import FloatArray, count, real_array
from knowgate._records.records import Reason
from knowgate.policy import GATES_OF, Gate, PolicyKind

GRID_POINTS = 480  # finer retains more: docs/decisions/0061-sharper-tests.md
OOD_AT_MOST = 0.99  # of the reference distribution


def path_of(
    kind: PolicyKind, signals: Sequence[Mapping[str, FloatArray]], *, speed: Mapping[str, float] | None = None
) -> list[Thresholds]:
    """The candidates of a kind over signals [n] per non-last tier; empty where a tier lacks one of
    them altogether.

    `speed` is of gates that open faster than the path goes (1): the share that passes is min(1,
    speed · level). A gate that is open passes all that these rows show, and nothing below it.

    Examples:
        >>> shown = {"p_ik": np.array([0.2, 0.8]), "p_t": np.array([0.3, 0.6]),
        ...     "ood": np.array([0.5, 0.5])}
        >>> [[gate.threshold for gate in at[0]] for at in path_of(PolicyKind.GATES, [shown])][::2]
        [[0.8, 0.6, 0.99]]
    """
    looked_at = [str(gate) for gate in GATES_OF[kind] if gate is not Reason.OOD]
    if any(gate not in tier or not np.isfinite(tier[gate]).any() for tier in signals for gate in looked_at):
        return []
    path = equal_quantile_path([{gate: tier[gate] for gate in looked_at} for tier in signals], speed=speed)
    if Reason.OOD not in GATES_OF[kind]:
        return path
    fixed = (Gate(signal=Reason.OOD, threshold=OOD_AT_MOST),)
    judged = ["ood" in tier and bool(np.isfinite(tier["ood"]).any()) for tier in signals]
    return [
        tuple((*(gates or ()), *(fixed if has_ood else ())) for gates, has_ood in zip(at, judged, strict=True))
        for at in path
    ]


def equal_quantile_path(
    tiers: Sequence[Mapping[str, npt.ArrayLike]],
    points: int = GRID_POINTS,
    *,
    speed: Mapping[str, float] | None = None,
) -> list[Thresholds]:
    """Thresholds of several gates and tiers that open together: each signal [n] at the same
    quantile level.

    Args: per non-last tier its signals by gate (NaN = missing; those rows escalate whatever the
    threshold); speed, of the gates whose level is a multiple of the others'. Returns at most
    `points` distinct sets of thresholds, the most conservative first.

    Examples:
        >>> path = equal_quantile_path([{"p_ik": [0.2, 0.8], "ood": [0.3, 0.6]}], points=2)
        >>> [(t[0][0].threshold, t[0][1].threshold) for t in path]
        [(0.8, 0.3), (0.2, 0.6)]
    """
    points = count("points", points, low=1)
    if not tiers or any(not signals for signals in tiers):
        raise InvalidInputError("tiers has a tier without a signal; give at least one gate per non-last tier")
    levels = np.arange(1, points + 1) / points
    fast = speed or {}
    grids = [
        {gate: _grid(gate, values, np.minimum(levels * fast.get(gate, 1.0), 1.0)) for gate, values in signals.items()}
        for signals in tiers
    ]
    path: list[Thresholds] = []
    for at in range(points):
        thresholds = tuple(
            tuple(Gate(signal=Reason(gate), threshold=float(grid[at])) for gate, grid in tier.items()) for tier in grids
        )
        if not path or thresholds != path[-1]:
            path.append(thresholds)
    return path


def _grid(gate: str, values: npt.ArrayLike, levels: FloatArray) -> FloatArray:
    """The signal's values at which shares `levels` of the rows pass the gate,
    conservative first.
    """
    signal = real_array(gate, values, unknown_allowed=True)
    known = np.sort(signal[~np.isnan(signal)])
    if known.size == 0:
        raise InvalidInputError(f"{gate} is missing in every row; certify a kind without this gate")
    rank = np.ceil(levels * known.size - 1e-9).astype(np.int64)
    opens_downwards = Gate(signal=Reason(gate), threshold=0.0).passes(1.0)  # the policy's own comparison is asked
    return known[known.size - rank] if opens_downwards else known[rank - 1]

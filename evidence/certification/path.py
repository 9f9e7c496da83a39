"""The path of candidates that a certification walks, fixed before any label is looked at.

One gate has a natural order, from the highest threshold down, and its grid comes from scores alone.
Several gates, or several tiers, need a one-dimensional path through the plane of thresholds: here
the gates open together, at equal quantile levels of their signals, which again needs no label. A
path learned from labels is as good, if those labels are of other rows
(`certify_policy(learned_on=…)` refuses the same ones): so gates may open at speeds of their own.
The OOD gate does not open: it stands at a fixed percentile.

A chain of three tiers and more has tiers that are not equally worth opening: along one path that
opens them together a weak first tier spends what the drop allows. So a chain has several paths,
fixed as one is, each of which opens every tier at a pace of its own beside the next one
(`chain_paths`); `evidence.certification.chain` chooses among what they certify.
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
CHAIN_PACES = (1.0, 0.25, 0.0)  # of a tier beside the next one


def chain_paths(
    kind: PolicyKind, signals: Sequence[Mapping[str, FloatArray]], *, speed: Mapping[str, float] | None = None
) -> list[list[Thresholds]]:
    """The fixed paths of a chain: each tier opens as fast as the next one, a quarter as fast, or
    not at all. Two tiers have one path.

    Examples:
        >>> shown = {"p_t": np.array([0.2, 0.8])}
        >>> [len(chain_paths(PolicyKind.P_T, [shown] * tiers)) for tiers in (1, 2)]
        [1, 3]
    """
    if len(signals) == 1:
        return [path_of(kind, signals, speed=speed)]
    return [path_of(kind, signals, speed=speed, pace=pace_of(each, len(signals))) for each in CHAIN_PACES]


def pace_of(each: float, tiers: int) -> tuple[float, ...]:
    """Per non-last tier how fast it opens beside the last of them, each `each` times as fast as the
    next.

    Examples:
        >>> pace_of(0.25, 3), pace_of(0.0, 2)
        ((0.0625, 0.25, 1.0), (0.0, 1.0))
    """
    return tuple(each ** (tiers - 1 - tier) for tier in range(tiers))


def path_of(
    kind: PolicyKind,
    signals: Sequence[Mapping[str, FloatArray]],
    *,
    speed: Mapping[str, float] | None = None,
    pace: Sequence[float] | None = None,
) -> list[Thresholds]:
    """The candidates of a kind over signals [n] per non-last tier; empty where a tier lacks one of
    them altogether.

    `speed` is of gates that open faster than the path goes (1): the share that passes is min(1,
    speed · level). A gate that is open passes all that these rows show, and nothing below it.
    `pace` likewise is of whole tiers (1 unless given); a tier of pace 0 retains nothing.

    Examples:
        >>> shown = {"p_ik": np.array([0.2, 0.8]), "p_t": np.array([0.3, 0.6]),
        ...     "ood": np.array([0.5, 0.5])}
        >>> [[gate.threshold for gate in at[0]] for at in path_of(PolicyKind.GATES, [shown])][::2]
        [[0.8, 0.6, 0.99]]
    """
    looked_at = [str(gate) for gate in GATES_OF[kind] if gate is not Reason.OOD]
    if any(gate not in tier or not np.isfinite(tier[gate]).any() for tier in signals for gate in looked_at):
        return []
    path = equal_quantile_path([{gate: tier[gate] for gate in looked_at} for tier in signals], speed=speed, pace=pace)
    if Reason.OOD not in GATES_OF[kind]:
        return path
    fixed = (Gate(signal=Reason.OOD, threshold=OOD_AT_MOST),)
    judged = ["ood" in tier and bool(np.isfinite(tier["ood"]).any()) for tier in signals]
    return [
        tuple(
            None if gates is None else (*gates, *(fixed if has_ood else ()))
            for gates, has_ood in zip(at, judged, strict=True)
        )
        for at in path
    ]


def equal_quantile_path(
    tiers: Sequence[Mapping[str, npt.ArrayLike]],
    points: int = GRID_POINTS,
    *,
    speed: Mapping[str, float] | None = None,
    pace: Sequence[float] | None = None,
) -> list[Thresholds]:
    """Thresholds of several gates and tiers that open together: each signal [n] at the same
    quantile level.

    Args: per non-last tier its signals by gate (NaN = missing; those rows escalate whatever the
    threshold); speed, of the gates whose level is a multiple of the others', pace, of the tiers
    likewise. Returns at most `points` distinct sets of thresholds, the most conservative first.

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
        {
            gate: _grid(gate, values, np.minimum(levels * fast.get(gate, 1.0) * own, 1.0))
            for gate, values in signals.items()
        }
        if own > 0.0
        else None
        for signals, own in zip(tiers, [1.0] * len(tiers) if pace is None else pace, strict=True)
    ]
    path: list[Thresholds] = []
    for at in range(points):
        thresholds = tuple(
            None
            if grid is None
            else tuple(Gate(signal=Reason(gate), threshold=float(at_level[at])) for gate, at_level in grid.items())
            for grid in grids
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

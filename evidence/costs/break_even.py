"""At which prices and at which escalation share a cascade stops saving.

A cascade pays its cheaper tiers on every query that reaches them (the overhead) and is spared the
last tier's bill on what it retains (the avoided cost). It saves exactly where avoided exceeds
overhead, so both are shown and not only their difference: a price list moves the overhead, a better
signal moves what is avoided.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evidence.errors import InvalidInputError
from evidence.inputs import FloatArray, IntArray, real_array


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """Shares of the bill that the last tier alone would send."""

    avoided: float  # the last tier's cost on what is retained, over its cost on everything
    overhead: float  # what the cheaper tiers that ran cost, over the same
    savings: float  # avoided − overhead; negative where the cascade costs more than its last tier alone
    escalation_share: float  # of queries, that reach the last tier
    largest_escalation_share: float  # above it this overhead eats all savings: 1 − overhead; negative: at none
    price_factor: float | None  # all cheaper tiers' prices times this cost what is avoided; None where they are free
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How long queries wait, one after another for the tiers that ran, in milliseconds."""

    mean_ms: float
    p95_ms: float
    escalated_mean_ms: float | None  # of those that reached the last tier; None where none did
    last_mean_ms: float  # had the last tier answered everything
    last_p95_ms: float
    n: int


def break_even(costs: npt.ArrayLike, kept: npt.ArrayLike) -> BreakEven:
    """Break-even figures of a cascade on n queries.

    Args: costs [n, tiers], what each tier costs on each query, in any one unit, at least 0; kept
    [n], the tier whose answer is kept. Every tier below it ran too. Raises InvalidInputError where
    the last tier is free everywhere.

    `largest_escalation_share` holds the overhead fixed, which is exact for two tiers whose costs do
    not depend on what is retained.

    Examples:
        >>> at = break_even([[1.0, 10.0]] * 4, [0, 0, 1, 1])
        >>> at.avoided, at.overhead, at.savings, at.largest_escalation_share, at.price_factor
        (0.5, 0.1, 0.4, 0.9, 5.0)
        >>> break_even([[8.0, 10.0]] * 4, [0, 0, 1, 1]).savings < 0
        True
    """
    costs, kept = _checked("costs", costs, kept)
    last = costs.shape[1] - 1
    bill = float(costs[:, last].sum())
    if bill <= 0.0:
        raise InvalidInputError(f"costs of the last tier sum to {bill}; a free last tier leaves nothing to save")
    ran = np.arange(last)[None, :] <= kept[:, None]
    avoided = float(costs[kept < last, last].sum()) / bill
    overhead = float(costs[:, :last][ran].sum()) / bill
    return BreakEven(
        avoided=avoided,
        overhead=overhead,
        savings=avoided - overhead,
        escalation_share=float((kept == last).mean()),
        largest_escalation_share=1.0 - overhead,
        price_factor=avoided / overhead if overhead > 0.0 else None,
        n=len(kept),
    )


def cascade_costs(costs: npt.ArrayLike, kept: npt.ArrayLike) -> FloatArray:
    """[n] what each query costs: the kept tier and all below it.

    Examples:
        >>> cascade_costs([[1.0, 10.0], [1.0, 10.0]], [0, 1]).tolist()
        [1.0, 11.0]
    """
    costs, kept = _checked("costs", costs, kept)
    return np.asarray(np.where(np.arange(costs.shape[1])[None, :] <= kept[:, None], costs, 0.0).sum(axis=1))


def waiting(latencies_ms: npt.ArrayLike, kept: npt.ArrayLike) -> Waiting:
    """What escalation does to latency: tiers run one after another, so their times add up within a
    query.

    Args: latencies_ms [n, tiers], each tier's own time on each query; kept [n].

    Examples:
        >>> w = waiting([[100.0, 1000.0]] * 10, [0] * 9 + [1])
        >>> round(w.mean_ms), round(w.p95_ms), w.escalated_mean_ms, w.last_p95_ms
        (200, 650, 1100.0, 1000.0)
    """
    times, kept = _checked("latencies_ms", latencies_ms, kept)
    last = times.shape[1] - 1
    waited, alone = cascade_costs(times, kept), times[:, last]
    escalated = kept == last
    return Waiting(
        mean_ms=float(waited.mean()),
        p95_ms=float(np.quantile(waited, 0.95)),
        escalated_mean_ms=float(waited[escalated].mean()) if escalated.any() else None,
        last_mean_ms=float(alone.mean()),
        last_p95_ms=float(np.quantile(alone, 0.95)),
        n=len(kept),
    )


def _checked(name: str, per_tier: npt.ArrayLike, kept: npt.ArrayLike) -> tuple[FloatArray, IntArray]:
    values, chosen = np.asarray(per_tier, dtype=np.float64), np.asarray(kept, dtype=np.int64)
    if values.ndim != 2 or values.shape[0] == 0 or values.shape[1] < 2:
        raise InvalidInputError(f"{name} has shape {values.shape}, expected [n ≥ 1, tiers ≥ 2]")
    real_array(name, values.ravel(), low=0.0)
    if chosen.shape != (len(values),) or chosen.min() < 0 or chosen.max() >= values.shape[1]:
        raise InvalidInputError(f"kept has shape {chosen.shape}; give one of {values.shape[1]} tiers per query")
    return values, chosen

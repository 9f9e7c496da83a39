"""What one run may count for in a sum or a mean: no more than a query may take.

A gateway that sends a time stamp for a token count makes one run of ten thousand the whole figure,
and nobody sees it in the result. So a run counts at most what is declared that a query may take, or
ten times what nine in ten runs stay within, whichever is more: a declaration that is too small for
honest traffic cuts none of it, and one absurd row moves no bound. Cost and FLOPs shrink with the
tokens; a cost that is absurd by itself is cut by the same rule, tier by tier. What was cut is
counted by whoever asks.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evidence.inputs import BoolArray, FloatArray

TIMES = 10.0  # what nine in ten runs stay within
SHARE = 0.9
LARGEST_CONTEXT = 2.0**21  # tokens; no model takes more
LONG_MS = 600_000.0  # a wait up to this is believed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Runs:
    """What n runs took, each column [n], NaN = unknown."""

    tier: npt.ArrayLike
    tokens_in: FloatArray
    tokens_out: FloatArray
    cost_usd: FloatArray
    gflops: FloatArray
    latency_ms: FloatArray


def bound_of(values: npt.ArrayLike, at_most: float = 0.0) -> float:
    """The most that one of these values [n] may count; NaN = unknown.

    Examples:
        >>> bound_of([100.0] * 9 + [2.0**53], 4096.0), bound_of([8000.0] * 20, 4096.0)
        (4096.0, 80000.0)
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if not known.size:
        return np.inf
    usual = float(np.quantile(known, SHARE, method="lower"))
    return max(at_most, TIMES * usual) if max(at_most, usual) > 0.0 else np.inf


def bounded_runs(runs: Runs, *, max_tokens: float = 0.0) -> tuple[Runs, BoolArray]:
    """The runs, none of which counts for more than a query may take, and which of them [n] were
    cut.

    Args: max_tokens, in and out together, that a query is declared to take at most; 0 = nothing is
    declared.

    Examples:
        >>> one = np.ones(10)
        >>> tokens = np.array([100.0] * 9 + [2.0**53])
        >>> taken = Runs(tier=one, tokens_in=tokens, tokens_out=0 * one, cost_usd=one, gflops=one,
        ...     latency_ms=one)
        >>> runs, cut = bounded_runs(taken, max_tokens=4096)
        >>> float(runs.tokens_in[-1]), int(cut.sum())
        (4096.0, 1)
    """
    tokens = np.nan_to_num(runs.tokens_in) + np.nan_to_num(runs.tokens_out)
    known = np.isfinite(runs.tokens_in) | np.isfinite(runs.tokens_out)
    most = min(bound_of(np.where(known, tokens, np.nan), max_tokens), LARGEST_CONTEXT)
    share = np.where(tokens > most, most / np.maximum(tokens, 1.0), 1.0)
    cost, cost_cut = _by_tier(runs.tier, runs.cost_usd * share, most, tokens * share)
    latency, latency_cut = _by_tier(runs.tier, runs.latency_ms, LONG_MS)
    bounded = Runs(
        tier=runs.tier,
        tokens_in=runs.tokens_in * share,
        tokens_out=runs.tokens_out * share,
        cost_usd=cost,
        gflops=runs.gflops * share,
        latency_ms=latency,
    )
    return bounded, (share < 1.0) | cost_cut | latency_cut


def _by_tier(
    tier: npt.ArrayLike, values: FloatArray, most: float, tokens: FloatArray | None = None
) -> tuple[FloatArray, BoolArray]:
    """The values, each at most ten times what nine in ten of its tier stay within, and which were
    cut; `most` is never too much, of `tokens` where they are given, at the tier's usual value of a
    token.
    """
    tiers, bounds = np.asarray(tier), np.full(len(values), np.inf)
    for number in np.unique(tiers):
        own = tiers == number
        least = most
        if tokens is not None:
            rates = values[own & (tokens > 0.0)] / tokens[own & (tokens > 0.0)]
            rates = rates[np.isfinite(rates)]
            least = most * float(np.quantile(rates, SHARE, method="lower")) if rates.size else 0.0
        bounds[own] = bound_of(values[own], least)
    cut = np.asarray(values > bounds, dtype=np.bool_)
    return np.where(cut, bounds, values), cut

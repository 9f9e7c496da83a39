"""How well each signal tells right answers from wrong ones, on questions that taught nothing: in
all, per kind, and for a kind that the probe was not taught.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.real_llm.judged.draws import Taught
from benchmarks.real_llm.recording import Outcomes
from evidence.signals.quality import auroc
from evidence.signals.signal_gain import LEAST_COMPARED, gain_over
from knowgate._records.arrays import BoolArray, FloatArray

SIGNALS = ("p_t_first", "p_t_mean", "p_ik", "score", "score_without_slice")
Named = Iterator[tuple[str, float]]


def signals_of(outcomes: Outcomes, taught: Taught) -> dict[str, FloatArray]:
    """Every signal of the first tier, [n]."""
    return {
        "p_t_first": outcomes.p_t_first,
        "p_t_mean": outcomes.p_t_mean,
        "p_ik": taught.signals["p_ik"],
        "score": taught.signals["score"],
        "score_without_slice": taught.score_without_slice,
    }


def worths(outcomes: Outcomes, taught: Taught) -> Named:
    """AUROCs on all unseen questions and per kind, and what is gained over the mean P(T): by P(IK)
    alone, and by the score, which has both; beyond the slice too.
    """
    signals, kinds = signals_of(outcomes, taught), np.array(outcomes.kind)
    yield from _aurocs("", signals, outcomes.correct, taught.unseen)
    for kind in dict.fromkeys(outcomes.kind):
        yield from _aurocs(f"{kind}.", signals, outcomes.correct, taught.unseen & (kinds == kind))
    rows = taught.unseen
    for name in ("p_ik", "score", "score_without_slice"):
        gain = gain_over(
            signals[name][rows],
            outcomes.p_t_mean[rows],
            outcomes.correct[rows],
            tier=0,
            signal=name,
            slices=list(kinds[rows]),
        )
        if gain is not None:
            yield f"gain.{name}.auroc", gain.auroc
            yield f"gain.{name}.share", gain.share
            if gain.within_slices is not None:
                yield f"gain.{name}.within_slices", gain.within_slices.auroc


def worth_untaught(outcomes: Outcomes, taught: Taught, kind: str) -> Named:
    """P(IK)'s AUROC on the kind of questions that taught it nothing."""
    rows = taught.unseen & (np.array(outcomes.kind) == kind)
    yield from _aurocs(f"{kind}.untaught.", {"p_ik": taught.signals["p_ik"]}, outcomes.correct, rows)


def _aurocs(head: str, signals: dict[str, FloatArray], correct: FloatArray, rows: BoolArray) -> Named:
    for name, values in signals.items():
        value = auroc_of(values[rows], correct[rows])
        if value is not None:
            yield f"{head}{name}", value


def auroc_of(values: Sequence[float] | FloatArray, correct: FloatArray) -> float | None:
    """None where fewer than twenty rows show the signal, or all are right or wrong."""
    values = np.asarray(values, dtype=np.float64)
    known = np.isfinite(values)
    right = correct[known] >= 0.5
    if len(right) < LEAST_COMPARED or right.all() or not right.any():
        return None
    return auroc(values[known], right).value

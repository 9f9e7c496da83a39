"""From a chain's signals to the paper's figures, under the paper's rule.

"If P(IK) or P(T) is below its threshold, ask the next model": that is `knowgate.policy` with the
gates p_ik and p_t, and it alone decides. A tier without hidden states falls back to P(T), as it
would when served. Compute is 2 · parameters · tokens of every tier that was asked; output tokens
that nobody counted are left out of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binomtest

from benchmarks.paper.chain import TaughtChain
from benchmarks.paper.published import P_IK_THRESHOLD, P_T_THRESHOLD, SWEPT
from evidence.costs.break_even import cascade_costs
from evidence.costs.savings import gflops, savings_of
from evidence.errors import EvidenceError
from evidence.signals.quality import auroc, macro_f1
from knowgate._records.arrays import FloatArray, IntArray
from knowgate.policy import Policy, PolicyKind, kept_tiers


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The paper's rule."""

    p_t: float = P_T_THRESHOLD
    p_ik: float | None = P_IK_THRESHOLD  # None = without P(IK)
    tuned: bool = False  # each probed tier's own P(IK) threshold in its place, chosen where the probe was calibrated


@dataclass(frozen=True, slots=True, kw_only=True)
class TierFigures:
    """How well one non-last tier's signals order its own answers; None where it is not known."""

    accuracy: float
    retained_share: float  # of all questions
    auroc_p_t: float | None
    auroc_p_ik: float | None
    macro_f1_p_ik: float | None  # P(IK) ≥ ½ as a prediction of a right answer
    macro_f1_tuned: float | None  # P(IK) ≥ the tuned threshold
    tuned_p_ik: float | None
    probed_layer: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainFigures:
    """The paper's figures of one cascade on n questions; None where it is not known."""

    n: int
    accuracy: float
    accuracy_last: float
    accuracy_drop: float
    mcnemar_p: float  # the cascade against its last tier on the same questions
    retained_share: float
    savings: float | None  # of GFLOPs; None where a size is undisclosed
    gflops: float | None  # per question, of every tier asked; None where sizes or tokens were not recorded
    gflops_last: float | None  # per question, when the last tier is asked everything
    last_tokens_out: float | None  # the last tier's output tokens per question, in the cascade
    last_tokens_out_alone: float | None  # and when asked everything
    hallucination: float  # wrong and not abstained
    hallucination_last: float
    tiers: tuple[TierFigures, ...]  # non-last


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPoint:
    """One threshold of the sweep."""

    p_t: float
    way: str  # with_p_ik, with_tuned_p_ik or without_p_ik
    accuracy: float
    savings: float | None
    retained_share: float


def policy_of(rule: Rule, tuned_p_ik: Sequence[float | None]) -> Policy:
    """The paper's rule for a cascade with these tuned thresholds, one per non-last tier (None = it
    has no probe).

    >>> policy_of(Rule(), (0.62,)).thresholds, policy_of(Rule(tuned=True), (0.62,)).thresholds
    (({'p_ik': 0.5, 'p_t': 0.9},), ({'p_ik': 0.62, 'p_t': 0.9},))
    """
    by_p_t = Policy.of(PolicyKind.P_T, ({"p_t": rule.p_t},) * len(tuned_p_ik))
    if rule.p_ik is None:
        return by_p_t
    p_ik = [rule.p_ik if own is None or not rule.tuned else own for own in tuned_p_ik]
    return Policy.of(PolicyKind.GATES, tuple({"p_ik": at, "p_t": rule.p_t} for at in p_ik), fallback=by_p_t)


def kept_in(taught: TaughtChain, rule: Rule) -> IntArray:
    """[n] the tier whose answer each question of the chain gets."""
    return kept_tiers(policy_of(rule, taught.tuned_p_ik), taught.signals)


def measure(taught: TaughtChain, rule: Rule) -> ChainFigures:
    """The paper's figures on the questions that taught nothing."""
    rows = np.flatnonzero(taught.asked)
    kept, chain = kept_in(taught, rule)[rows], taught.chain
    last = len(chain.tiers) - 1
    right = chain.correct[rows]
    ours, alone = right[np.arange(len(rows)), kept], right[:, last]
    silent = np.column_stack([tier.abstained for tier in chain.tiers])[rows]
    tokens_out = chain.tiers[last].tokens_out[rows]
    tokens_known = bool(np.isfinite(tokens_out).all())
    compute = _compute(taught, rows) if tokens_known else None
    return ChainFigures(
        n=len(rows),
        accuracy=float(ours.mean()),
        accuracy_last=float(alone.mean()),
        accuracy_drop=float(alone.mean() - ours.mean()),
        mcnemar_p=mcnemar_p(ours, alone),
        retained_share=float((kept < last).mean()),
        savings=_savings(taught, rows, kept),
        gflops=None if compute is None else float(cascade_costs(compute, kept).mean()),
        gflops_last=None if compute is None else float(compute[:, -1].mean()),
        last_tokens_out=float(np.where(kept == last, tokens_out, 0.0).mean()) if tokens_known else None,
        last_tokens_out_alone=float(tokens_out.mean()) if tokens_known else None,
        hallucination=float(((1.0 - ours) * ~silent[np.arange(len(rows)), kept]).mean()),
        hallucination_last=float(((1.0 - alone) * ~silent[:, last]).mean()),
        tiers=tuple(_tier_figures(taught, tier, rows, kept) for tier in range(last)),
    )


def mcnemar_p(first: FloatArray, second: FloatArray) -> float:
    """The exact two-sided p of two paired accuracies (McNemar, Psychometrika 12, 1947)."""
    only_first, only_second = int((first > second).sum()), int((first < second).sum())
    return float(binomtest(only_first, only_first + only_second).pvalue) if only_first + only_second else 1.0


def sweep(taught: TaughtChain) -> tuple[SweepPoint, ...]:
    """P(T) from .50 to .95, with P(IK) where some tier has one, and without."""
    points = []
    rows, last = np.flatnonzero(taught.asked), len(taught.chain.tiers) - 1
    ways = {"without_p_ik": Rule(p_ik=None)}
    if any(taught.learned):
        ways = {"with_p_ik": Rule(), "with_tuned_p_ik": Rule(tuned=True), **ways}
    for way, rule in ways.items():
        for threshold in SWEPT:
            kept = kept_in(taught, replace(rule, p_t=threshold))[rows]
            points.append(
                SweepPoint(
                    p_t=threshold,
                    way=way,
                    accuracy=float(taught.chain.correct[rows, kept].mean()),
                    savings=_savings(taught, rows, kept),
                    retained_share=float((kept < last).mean()),
                )
            )
    return tuple(points)


def _savings(taught: TaughtChain, rows: IntArray, kept: IntArray) -> float | None:
    compute = _compute(taught, rows)
    return None if compute is None else savings_of(cascade_costs(compute, kept), compute[:, -1]).value


def _compute(taught: TaughtChain, rows: IntArray) -> FloatArray | None:
    """[rows, tiers] GFLOPs of each question at each tier; None where a size is undisclosed or
    tokens are unknown.
    """
    columns = []
    for tier in taught.chain.tiers:
        tokens = (tier.tokens_in + np.nan_to_num(tier.tokens_out))[rows]
        if tier.parameters is None or not np.isfinite(tokens).all():
            return None
        columns.append(gflops(tier.parameters, tokens))
    return np.column_stack(columns)


def _tier_figures(taught: TaughtChain, tier: int, rows: IntArray, kept: IntArray) -> TierFigures:
    right = taught.chain.correct[rows, tier]
    p_t, p_ik = (taught.signals[tier][gate][rows] for gate in ("p_t", "p_ik"))
    known = np.isfinite(p_ik)
    learned = taught.learned[tier]
    best = taught.tuned_p_ik[tier]
    macro, macro_tuned = None, None
    if known.any() and 0.0 < right[known].mean() < 1.0:
        macro = macro_f1(p_ik[known] >= 0.5, right[known]).value
        macro_tuned = None if best is None else macro_f1(p_ik[known] >= best, right[known]).value
    return TierFigures(
        accuracy=float(right.mean()),
        retained_share=float((kept == tier).mean()),
        auroc_p_t=_auroc(p_t, right),
        auroc_p_ik=_auroc(p_ik, right),
        macro_f1_p_ik=macro,
        macro_f1_tuned=macro_tuned,
        tuned_p_ik=best,
        probed_layer=None if learned is None else learned.models.document.fingerprint.layer,
    )


def _auroc(scores: FloatArray, right: FloatArray) -> float | None:
    known = np.isfinite(scores)
    if not known.any():
        return None
    try:
        return auroc(scores[known], right[known]).value
    except EvidenceError:  # all are right, or all are wrong
        return None

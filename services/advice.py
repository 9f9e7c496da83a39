"""Is a cascade worth it here? What `knowgate advise` computes from an outcome table and a price list.

It looks for reasons against one before it speaks for one, in this order: prices under which even a perfect signal saves
nothing; a wait that the caller cannot afford; a small model that keeps the promise alone; a target that no threshold
can keep; savings that are none. What is left is a cascade, or labels to gather first. Thresholds come from the same
certification that `knowgate certify` runs, and `knowgate.policy` says what they retain.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from evidence import (
    BreakEven,
    CertificationStatus,
    RetainableShares,
    Savings,
    Target,
    TargetKind,
    Waiting,
    break_even,
    cascade_costs,
    fewest_rows_to_certify,
    perfect_kept,
    retainable_shares,
    savings_of,
    waiting,
    worth_of_signal,
)
from knowgate.policy import BoolArray, FloatArray, IntArray, Policy, PolicyKind, escalate_all, kept_tiers
from services.advice_signals import SignalWorth, boldest_estimated, signal_arrays, signals_worth
from services.certification import CertifiedThresholds, certify_table
from services.errors import InputInvalid
from services.history.outcomes import OutcomeTable
from services.price_lists import TierRates
from services.query_costs import CostTable, cost_tables


class Recommendation(StrEnum):
    CASCADE = "cascade"
    LABEL_FIRST = "label_first"
    DO_NOT = "do_not"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of the table."""

    max_accuracy_drop: float = 0.02
    delta: float = 0.1
    rule: PolicyKind = PolicyKind.P_T
    min_retained_share: float = 0.05
    max_latency_ms: float | None = None  # the longest p95 that the caller can wait
    latencies_ms: tuple[float, ...] | None = None  # per tier, where the table has none


@dataclass(frozen=True, slots=True, kw_only=True)
class CostAdvice:
    """What a cascade would save, in one unit."""

    unit: str  # usd or gflops
    per_query: float  # of the cascade
    last_per_query: float  # of the last tier alone
    savings: Savings  # at the thresholds that the advice is about
    break_even: BreakEven  # at the same
    perfect: BreakEven  # with a signal that always knew: no cascade of these tiers saves more


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One of the cases in which a cascade should not be used; applies is None where the table cannot tell."""

    name: str
    applies: bool | None
    finding: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShorterChain:
    """A chain of fewer of the table's tiers, certified on the same rows."""

    tiers: tuple[int, ...]
    status: CertificationStatus
    savings: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The answer, and everything it rests on."""

    recommendation: Recommendation
    reason: str
    queries: int
    graded: int  # of them with every tier's cost and correctness; all figures but the certificate are theirs
    models: tuple[str, ...]
    basis: str  # which thresholds the figures are for: certified, or estimated (the boldest within the drop here)
    certificate: CertifiedThresholds
    retained_share: float
    shares: RetainableShares
    worth: float | None  # from what a coin may retain (0) to what a perfect signal may (1)
    labels_needed: int | None  # further labelled queries; 0 when certified, None where none would do
    signals: tuple[SignalWorth, ...]
    costs: tuple[CostAdvice, ...]  # the first one decides
    latency: Waiting | None
    cases: tuple[Case, ...]
    shorter: tuple[ShorterChain, ...]  # of a chain of three tiers and more
    assumed: tuple[str, ...]


def advise(table: OutcomeTable, rates: Sequence[TierRates], question: Question) -> Advice:
    """Whether a cascade of the table's tiers is worth it at these rates.

    Raises InputInvalid where nothing prices the tiers, or no query has every tier's outcome.
    """
    if question.rule is PolicyKind.SCORE:
        raise InputInvalid("rule is score: advice looks at the table's own columns; use p_t, p_ik or gates")
    graded: BoolArray = np.asarray(np.isfinite(table.correct).all(axis=1))
    fewest = fewest_rows_to_certify(question.max_accuracy_drop, question.delta)
    if not graded.any():
        raise InputInvalid(f"no query has every tier's outcome: label some first, {fewest} of them at the very least")
    costs, assumed = cost_tables(table, rates, graded)
    certificate = _certified(table, question)
    signals = signal_arrays(table, question.rule, graded)
    kept, basis = _kept(certificate, signals, table.correct[graded], question)
    perfect = perfect_kept(table.correct[graded], question.max_accuracy_drop)
    advised = tuple(_cost_advice(cost, kept, perfect) for cost in costs)
    shares = retainable_shares(table.correct[graded], question.max_accuracy_drop)
    retained = float((kept < table.tiers - 1).mean())
    worth = signals_worth(signals, table.correct[graded])
    latency = _latency(table, graded, kept, question)
    labels = certificate.labels_needed
    if certificate.status is CertificationStatus.INSUFFICIENT_EVIDENCE and certificate.n < fewest:
        labels = max(labels or 0, fewest - certificate.n)
    cases = _cases(advised[0], worth, latency, question, shares)
    recommendation, reason = _recommended(certificate, advised[0], cases, labels, retained)
    shorter = _shorter(table, rates, question) if table.tiers > 2 else ()
    better = max(shorter, key=lambda chain: chain.savings, default=None)
    if better is not None and better.savings > max(0.0, advised[0].savings.value):
        names = " → ".join(table.models[tier] for tier in better.tiers)
        reason += f"; the shorter chain {names} would save {better.savings:.1%}: certify that one on fresh queries"
    return Advice(
        recommendation=recommendation,
        reason=reason,
        queries=table.queries,
        graded=int(graded.sum()),
        models=table.models,
        basis=basis,
        certificate=certificate,
        retained_share=retained,
        shares=shares,
        worth=worth_of_signal(retained, shares),
        labels_needed=labels,
        signals=worth,
        costs=advised,
        latency=latency,
        cases=cases,
        shorter=shorter,
        assumed=assumed,
    )


def _certified(table: OutcomeTable, question: Question) -> CertifiedThresholds:
    target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=question.max_accuracy_drop)
    return certify_table(
        table,
        rule=question.rule,
        target=target,
        delta=question.delta,
        min_retained_share=question.min_retained_share,
    )


def _kept(
    certificate: CertifiedThresholds, signals: list[dict[str, FloatArray]], correct: FloatArray, question: Question
) -> tuple[IntArray, str]:
    """[graded] the tier that each query keeps, and whose thresholds say so."""
    if certificate.status is CertificationStatus.CERTIFIED:
        policy = Policy.of(question.rule, tuple(certificate.thresholds))
        return kept_tiers(policy, signals), "certified"
    estimated = boldest_estimated(question.rule, signals, correct, question.max_accuracy_drop)
    return kept_tiers(estimated or escalate_all(correct.shape[1]), signals), "estimated"


def _cost_advice(cost: CostTable, kept: IntArray, perfect: IntArray) -> CostAdvice:
    values = cost.per_tier
    spent, alone = cascade_costs(values, kept), values[:, -1]
    return CostAdvice(
        unit=cost.unit,
        per_query=float(spent.mean()),
        last_per_query=float(alone.mean()),
        savings=savings_of(spent, alone),
        break_even=break_even(values, kept),
        perfect=break_even(values, perfect),
    )


def _latency(table: OutcomeTable, graded: BoolArray, kept: IntArray, question: Question) -> Waiting | None:
    if question.latencies_ms is not None:
        return waiting(np.tile(question.latencies_ms, (len(kept), 1)), kept)
    times = table.latency_ms[graded]
    known = np.isfinite(times).all(axis=1)
    return waiting(times[known], kept[known]) if known.any() else None


def _cases(
    cost: CostAdvice,
    signals: tuple[SignalWorth, ...],
    latency: Waiting | None,
    question: Question,
    shares: RetainableShares,
) -> tuple[Case, ...]:
    """The cases in which the method's authors advise against it, each measured here."""
    at = cost.break_even
    prices = Case(
        name="several calls cost more than one",
        applies=at.savings <= 0.0,
        finding=f"asking the cheaper tiers costs {at.overhead:.1%} of the last tier's bill and avoids {at.avoided:.1%}",
    )
    limit = question.max_latency_ms
    waits = Case(
        name="an escalation cannot be waited for",
        applies=None if latency is None or limit is None else latency.p95_ms > limit,
        finding="no latency is known: give --latency or the column latency_ms"
        if latency is None
        else f"p95 is {latency.p95_ms:.0f} ms with a cascade and {latency.last_p95_ms:.0f} ms without"
        + ("; give --max-latency to judge it" if limit is None else f", {limit:.0f} ms are allowed"),
    )
    first = [signal for signal in signals if signal.tier == 0]
    useless = all(signal.useless for signal in first) and shares.drop_of_retaining_all > question.max_accuracy_drop
    told = ", ".join(signal.told for signal in first)
    weak = Case(name="the signals are weak", applies=useless, finding=told)
    return (prices, waits, weak)


def _recommended(
    certificate: CertifiedThresholds,
    cost: CostAdvice,
    cases: tuple[Case, ...],
    labels: int | None,
    retained: float,
) -> tuple[Recommendation, str]:
    prices, waits, weak = cases
    if cost.perfect.savings <= 0.0:
        return Recommendation.DO_NOT, (
            f"at these prices even a perfect signal would cost {-cost.perfect.savings:.1%} more {cost.unit} than the "
            "last tier alone: ask the last tier"
        )
    if waits.applies:
        return Recommendation.DO_NOT, f"an escalation takes too long: {waits.finding}"
    if certificate.status is CertificationStatus.CERTIFIED and certificate.retained_share >= 1.0:
        return Recommendation.DO_NOT, (
            f"the cheaper tier alone keeps the promise (drop at most {certificate.drop_upper_bound:.2%}): use it alone"
        )
    if certificate.status is CertificationStatus.INFEASIBLE:
        return Recommendation.DO_NOT, (
            "no threshold that retains enough keeps the promise: whatever the rule, at least "
            f"{certificate.least_escalation or 0.0:.1%} of the queries must escalate, with this signal far more"
        )
    if weak.applies:
        return Recommendation.DO_NOT, f"the signal does not tell right answers from wrong ones ({weak.finding})"
    if certificate.status is CertificationStatus.CERTIFIED:
        return _when_certified(cost, prices)
    return _when_open(certificate, cost, labels, retained)


def _when_certified(cost: CostAdvice, prices: Case) -> tuple[Recommendation, str]:
    saved = cost.savings
    if saved.lower <= 0.0:
        told = f"saves {saved.value:.1%}" if saved.value > 0 else f"costs {-saved.value:.1%} more"
        return Recommendation.DO_NOT, (
            f"within the promised accuracy a cascade {told} {cost.unit} "
            f"(95 % interval {saved.lower:.1%} to {saved.upper:.1%}): {prices.finding}"
        )
    return Recommendation.CASCADE, (
        f"it saves {saved.value:.1%} {cost.unit} (95 % interval {saved.lower:.1%} to {saved.upper:.1%}) within the "
        "promised accuracy"
    )


def _when_open(
    certificate: CertifiedThresholds, cost: CostAdvice, labels: int | None, retained: float
) -> tuple[Recommendation, str]:
    if labels is None:
        return Recommendation.DO_NOT, (
            f"on these {certificate.n} queries no threshold comes out within the target, so no number of labels is "
            "known to help"
        )
    if retained > 0.0 and cost.savings.value <= 0.0:
        return Recommendation.DO_NOT, (
            f"even at the boldest thresholds that seem to keep the target, it would cost {-cost.savings.value:.1%} "
            f"more {cost.unit}"
        )
    return Recommendation.LABEL_FIRST, (
        f"{certificate.n} labelled queries do not settle it: about {labels} more are needed; it might save "
        f"{max(cost.savings.value, 0.0):.1%} {cost.unit}"
    )


def _shorter(table: OutcomeTable, rates: Sequence[TierRates], question: Question) -> tuple[ShorterChain, ...]:
    """Each two-tier chain of a longer one: errors add up in long chains, and fewer tiers may save more."""
    found = []
    for tier in range(table.tiers - 1):
        tiers = (tier, table.tiers - 1)
        latencies = question.latencies_ms
        asked = replace(question, latencies_ms=None if latencies is None else tuple(latencies[at] for at in tiers))
        pair = advise(table.of_tiers(tiers), [rates[at] for at in tiers], asked)
        saved = pair.costs[0].savings.value if pair.basis == "certified" else 0.0
        found.append(ShorterChain(tiers=tiers, status=pair.certificate.status, savings=saved))
    return tuple(found)

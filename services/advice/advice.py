"""Is a cascade worth it here? What `knowgate advise` computes from an outcome table and a price
list.

Thresholds come from the same certification that `knowgate certify` runs, and `knowgate.policy` says
what they retain; `services.advice.reasons` weighs what comes out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evidence.certification.certificate import Target
from evidence.costs.break_even import Waiting, break_even, cascade_costs, waiting
from evidence.costs.savings import savings_of
from evidence.signals.signal_worth import (
    RetainableShares,
    fewest_rows_to_certify,
    fewest_rows_to_show_accuracy,
    perfect_kept,
    perfect_kept_at_accuracy,
    retainable_shares,
    retainable_shares_at_accuracy,
    worth_of_signal,
)
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate._records.arrays import BoolArray, FloatArray, IntArray
from knowgate.policy import Policy, PolicyKind, ended_mask, escalate_all, kept_tiers
from knowgate.spec import TargetKind
from services.advice.hearing import Heard, heard_losses, heard_risks
from services.advice.label_plan import LabelYield, yield_of
from services.advice.price_lists import TierRates
from services.advice.query_costs import CostTable, cost_tables
from services.advice.reasons import Case, CostAdvice, Question, Recommendation, cases_of, recommended
from services.advice.signals import SignalWorth, boldest_estimated, signal_arrays, signals_worth, sure_signals
from services.errors import InputInvalid
from services.outcome_tables.certification import CertifiedThresholds, certify_table
from services.outcome_tables.outcomes import OutcomeTable


@dataclass(frozen=True, slots=True, kw_only=True)
class ShorterChain:
    """A chain of fewer of the table's tiers, certified on the same rows."""

    tiers: tuple[int, ...]
    status: CertificateStatus
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
    target: Target
    certificate: CertifiedThresholds
    retained_share: float
    shares: RetainableShares
    worth: float | None  # from what a coin may retain (0) to what a perfect signal may (1)
    labels_needed: int | None  # further labelled queries; 0 when certified, None where none would do
    labels: LabelYield | None  # what the plan yields, where one is given
    heard: tuple[Heard, ...]  # how soon the alarms would hear of harm, by the same plan
    signals: tuple[SignalWorth, ...]
    costs: tuple[CostAdvice, ...]  # the first one decides
    latency: Waiting | None
    cases: tuple[Case, ...]
    shorter: tuple[ShorterChain, ...]  # of a chain of three tiers and more
    assumed: tuple[str, ...]
    warnings: tuple[str, ...]  # of signals that say less than they seem to, with what helps


def advise(table: OutcomeTable, rates: Sequence[TierRates], question: Question) -> Advice:
    """Whether a cascade of the table's tiers is worth it at these rates.

    Raises InputInvalid where nothing prices the tiers, or no query has every tier's outcome.
    """
    if question.kind is PolicyKind.SCORE:
        raise InputInvalid("rule is score: advice looks at the table's own columns; use p_t, p_ik or gates")
    table, cut = table.within_bounds()
    fewest = _fewest_rows(question.target, question.delta)
    graded = _graded(table, fewest)
    correct = table.correct[graded]
    costs, assumed = cost_tables(table, rates, graded)
    certificate = _certified(table, rates, question)
    signals = signal_arrays(table, question.kind, graded)
    policy, basis = _policy(certificate, signals, correct, question)
    kept = kept_tiers(policy, signals)
    retained = float((kept < table.tiers - 1).mean())
    perfect, shares = _within_reach(correct, question.target)
    ended = np.column_stack([ended_mask(policy, shown, tier=tier) for tier, shown in enumerate(signals)])
    advised = tuple(_cost_advice(cost, kept, perfect, ended) for cost in costs)
    worth = signals_worth(signals, correct)
    latency = _latency(table, graded, kept, question)
    labels = _labels_needed(certificate, fewest)
    cases = cases_of(advised[0], worth, latency, question, shares)
    shorter = _shorter(table, rates, question) if table.tiers > 2 else ()
    recommendation, reason = _shorter_instead(table, shorter, advised[0]) or recommended(
        certificate, advised[0], cases, labels, retained
    )
    week = _yield(table, graded, kept, question, labels)
    return Advice(
        recommendation=recommendation,
        reason=reason,
        queries=table.queries,
        graded=int(graded.sum()),
        models=table.models,
        basis=basis,
        target=question.target,
        certificate=certificate,
        retained_share=retained,
        shares=shares,
        worth=worth_of_signal(retained, shares),
        labels_needed=labels,
        labels=week,
        heard=_heard(correct, kept, costs, rates, question, advised[0], week),
        signals=worth,
        costs=advised,
        latency=latency,
        cases=cases,
        shorter=shorter,
        assumed=(*assumed, *_cut_runs(cut)),
        warnings=sure_signals(table, question.kind),
    )


def _graded(table: OutcomeTable, fewest: int) -> BoolArray:
    """[queries] which of them have every tier's outcome. Raises InputInvalid where none has."""
    graded: BoolArray = np.asarray(np.isfinite(table.correct).all(axis=1))
    if not graded.any():
        raise InputInvalid(f"no query has every tier's outcome: label some first, {fewest} of them at the very least")
    return graded


def _labels_needed(certificate: CertifiedThresholds, fewest: int) -> int | None:
    """Further labelled queries that a certificate needs: at least the fewest that can show
    anything.
    """
    if certificate.status is CertificateStatus.INSUFFICIENT_EVIDENCE and certificate.n < fewest:
        return max(certificate.labels_needed or 0, fewest - certificate.n)
    return certificate.labels_needed


def _shorter_instead(
    table: OutcomeTable, shorter: Sequence[ShorterChain], cost: CostAdvice
) -> tuple[Recommendation, str] | None:
    """What is advised where a shorter chain saves more than all tiers together; None where
    none does.
    """
    better = max(shorter, key=lambda chain: chain.savings, default=None)
    saved = max(0.0, cost.savings.value)
    if better is None or better.savings <= saved:
        return None
    names = " → ".join(table.models[tier] for tier in better.tiers)
    return Recommendation.LABEL_FIRST, (
        f"the shorter chain {names} would save {better.savings:.1%}, all {table.tiers} tiers {saved:.1%}: "
        "certify the shorter one on fresh queries"
    )


def _yield(
    table: OutcomeTable, graded: BoolArray, kept: IntArray, question: Question, labels_needed: int | None
) -> LabelYield | None:
    if question.plan is None:
        return None
    same = (table.same_answer[graded][:, :-1] == 1.0).all(axis=1)  # unknown: they may differ
    return yield_of(question.plan, kept < table.tiers - 1, same, question.target.kind, labels_needed)


def _heard(
    correct: FloatArray,
    kept: IntArray,
    costs: Sequence[CostTable],
    rates: Sequence[TierRates],
    question: Question,
    cost: CostAdvice,
    week: LabelYield | None,
) -> tuple[Heard, ...]:
    """Nothing without a plan, nor where nothing is retained that could do harm."""
    if week is None or not (kept < correct.shape[1] - 1).any():
        return ()
    losses = heard_losses(costs, rates, kept, cost.savings.lower, week.plan.decisions_per_day)
    return losses + heard_risks(question.target, correct, kept, week)


def _cut_runs(runs: int) -> tuple[str, ...]:
    """What is said of runs that took more than a query may."""
    return (
        (f"{runs} runs take over ten times what nine in ten do, and count as that: see what logs them",) if runs else ()
    )


def _certified(table: OutcomeTable, rates: Sequence[TierRates], question: Question) -> CertifiedThresholds:
    """What can be certified; costs choose among a chain's paths. Of two tiers the advice itself
    says what they save.
    """
    everything, _ = cost_tables(table, rates, np.ones(table.queries, dtype=np.bool_))
    return certify_table(
        table,
        kind=question.kind,
        target=question.target,
        delta=question.delta,
        min_retained_share=question.min_retained_share,
        costs=everything[0].per_tier if table.tiers > 2 else None,
    )


def _fewest_rows(target: Target, delta: float) -> int:
    """The fewest labelled queries with which the target can be shown at all."""
    if target.kind is TargetKind.MAX_ACCURACY_DROP:
        return fewest_rows_to_certify(target.value, delta)
    return fewest_rows_to_show_accuracy(target.value, delta)


def _within_reach(correct: FloatArray, target: Target) -> tuple[IntArray, RetainableShares]:
    """What a perfect signal keeps [n], and the shares that it and a coin may retain."""
    if target.kind is TargetKind.MAX_ACCURACY_DROP:
        return perfect_kept(correct, target.value), retainable_shares(correct, target.value)
    return perfect_kept_at_accuracy(correct, target.value), retainable_shares_at_accuracy(correct, target.value)


def _policy(
    certificate: CertifiedThresholds, signals: list[dict[str, FloatArray]], correct: FloatArray, question: Question
) -> tuple[Policy, str]:
    """What decides, and whose thresholds it has."""
    if certificate.status is CertificateStatus.CERTIFIED:
        return Policy.of(question.kind, tuple(certificate.thresholds)), "certified"
    estimated = boldest_estimated(question.kind, signals, correct, question.target)
    return estimated or escalate_all(correct.shape[1]), "estimated"


def _cost_advice(cost: CostTable, kept: IntArray, perfect: IntArray, ended: BoolArray) -> CostAdvice:
    values = cost.per_tier
    spent, alone = cascade_costs(values, kept), values[:, -1]
    early = None
    if cost.of_prompts is not None and ended.any():
        paid = np.where(np.column_stack([ended, np.zeros(len(kept), dtype=np.bool_)]), cost.of_prompts, values)
        early = savings_of(cascade_costs(paid, kept), alone)
    return CostAdvice(
        unit=cost.unit,
        per_query=float(spent.mean()),
        last_per_query=float(alone.mean()),
        savings=savings_of(spent, alone),
        break_even=break_even(values, kept),
        perfect=break_even(values, perfect),
        early=early,
        ended_share=float(_reached(ended, kept).mean()),
    )


def _reached(ended: BoolArray, kept: IntArray) -> BoolArray:
    """[n] whether some tier that the query reached would have been ended before it answered."""
    return np.asarray((ended & (np.arange(ended.shape[1]) <= kept[:, None])).any(axis=1), dtype=np.bool_)


def _latency(table: OutcomeTable, graded: BoolArray, kept: IntArray, question: Question) -> Waiting | None:
    """None where no latency is known. Raises InputInvalid where one is asked about all the same."""
    if question.latencies_ms is not None:
        return waiting(np.tile(question.latencies_ms, (len(kept), 1)), kept)
    times = table.latency_ms[graded]
    known = np.isfinite(times).all(axis=1)
    if known.any():
        return waiting(times[known], kept[known])
    if question.max_latency_ms is not None:
        raise InputInvalid(
            f"max_latency is {question.max_latency_ms:g} ms and no latency is known: give --latency or fill latency_ms"
        )
    return None


def _shorter(table: OutcomeTable, rates: Sequence[TierRates], question: Question) -> tuple[ShorterChain, ...]:
    """Each two-tier chain of a longer one: errors add up in long chains, and fewer tiers may save
    more.
    """
    shortened = []
    for tier in range(table.tiers - 1):
        tiers = (tier, table.tiers - 1)
        latencies = question.latencies_ms
        asked = replace(
            question, latencies_ms=None if latencies is None else tuple(latencies[at] for at in tiers), plan=None
        )
        pair = advise(table.of_tiers(tiers), [rates[at] for at in tiers], asked)
        saved = pair.costs[0].savings.value if pair.basis == "certified" else 0.0
        shortened.append(ShorterChain(tiers=tiers, status=pair.certificate.status, savings=saved))
    return tuple(shortened)

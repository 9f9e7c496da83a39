"""The reasons against a cascade, in their order, and what is advised.

Prices under which even a perfect signal saves nothing; a wait that the caller cannot afford; a
small model that keeps the promise alone; a target that no threshold can keep; signals that tell
nothing; savings that are none. What is left is a cascade, or labels to gather first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from evidence.certification.certificate import Target
from evidence.costs.break_even import BreakEven, Waiting
from evidence.costs.savings import Savings
from evidence.signals.signal_worth import RetainableShares
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate.policy import PolicyKind
from services.advice.label_plan import LabelPlan
from services.advice.signals import SignalWorth
from services.outcome_tables.certification import CertifiedThresholds


class Recommendation(StrEnum):
    CASCADE = "cascade"
    LABEL_FIRST = "label_first"
    DO_NOT = "do_not"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of the table."""

    target: Target
    delta: float = 0.1
    kind: PolicyKind = PolicyKind.P_T
    min_retained_share: float = 0.05
    max_latency_ms: float | None = None  # the longest p95 that the caller can wait
    latencies_ms: tuple[float, ...] | None = None  # per tier, where the table has none
    plan: LabelPlan | None = None  # of what is to be explored and labelled


@dataclass(frozen=True, slots=True, kw_only=True)
class CostAdvice:
    """What a cascade would save, in one unit."""

    unit: str  # usd or gflops
    per_query: float  # of the cascade
    last_per_query: float  # of the last tier alone
    savings: Savings  # at the thresholds that the advice is about
    break_even: BreakEven  # at the same
    perfect: BreakEven  # with a signal that always knew: no cascade that answers first saves more
    early: Savings | None = None  # at the same thresholds, had P(IK) ended tiers before they answered
    ended_share: float = 0.0  # of the queries, that it would have ended at some tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One of the cases in which a cascade should not be used; applies is None where the table
    cannot tell.
    """

    name: str
    applies: bool | None
    finding: str


def cases_of(
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
    weak = Case(
        name="the signals are weak",
        applies=_weak(first, shares),
        finding=", ".join(signal.sentence for signal in first),
    )
    return (prices, waits, weak)


def _weak(signals: Sequence[SignalWorth], shares: RetainableShares) -> bool | None:
    """Whether none of the first tier's signals tells right from wrong where the target needs one
    that does.
    """
    useless = [signal.useless for signal in signals]
    if False in useless or shares.random >= 1.0:
        return False
    return True if all(useless) else None


def recommended(
    certificate: CertifiedThresholds,
    cost: CostAdvice,
    cases: tuple[Case, ...],
    labels: int | None,
    retained: float,
) -> tuple[Recommendation, str]:
    """What is advised, and why; `labels`, further labels that a certificate needs, None where none
    would do.
    """
    prices, waits, weak = cases
    if cost.perfect.savings <= 0.0:
        return Recommendation.DO_NOT, (
            f"at these prices even a perfect signal would cost {-cost.perfect.savings:.1%} more {cost.unit} than the "
            "last tier alone: ask the last tier"
        )
    if waits.applies:
        return Recommendation.DO_NOT, f"an escalation takes too long: {waits.finding}"
    if certificate.status is CertificateStatus.CERTIFIED and certificate.retained_share >= 1.0:
        return Recommendation.DO_NOT, (
            f"the cheaper tier alone keeps the promise ({_shown(certificate)}): use it alone"
        )
    if certificate.status is CertificateStatus.INFEASIBLE:
        return Recommendation.DO_NOT, (
            "no threshold that retains enough keeps the promise: whatever the rule, at least "
            f"{certificate.least_escalation or 0.0:.1%} of the queries must escalate, with this signal far more"
        )
    if certificate.status is CertificateStatus.SAVES_NOTHING:
        return Recommendation.DO_NOT, "within the promised accuracy no chain of all these tiers saves anything"
    if weak.applies:
        return Recommendation.DO_NOT, f"the signal does not tell right answers from wrong ones ({weak.finding})"
    if certificate.status is CertificateStatus.CERTIFIED:
        return _when_certified(cost, prices)
    return _when_open(certificate, cost, labels, retained)


def _shown(certificate: CertifiedThresholds) -> str:
    if certificate.epsilon is None:
        return f"right at least {certificate.retained_accuracy_lower_bound or 0.0:.2%} of the time"
    return f"drop at most {certificate.drop_upper_bound:.2%}"


def _when_certified(cost: CostAdvice, prices: Case) -> tuple[Recommendation, str]:
    saved = cost.savings
    if saved.lower <= 0.0:
        effect = f"saves {saved.value:.1%}" if saved.value > 0 else f"costs {-saved.value:.1%} more"
        return Recommendation.DO_NOT, (
            f"within the promised accuracy a cascade {effect} {cost.unit} "
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

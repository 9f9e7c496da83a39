"""One decision's page: why the query went where it went.

The sentences are made from the stored verdict alone: what the gates saw and what they were set to
when it happened, not what today's bundle would say.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from knowgate._records.records import Attempt, Decision, GateOutcome, Reason, Role
from knowgate.errors import BundleRefused
from knowgate.policy import NOTHING_KEPT
from knowgate.spec import CascadeSpec
from services.audit.counterfactual import Counterfactual
from services.audit.explain import by_another
from services.pages.numbers import percent
from services.pages.rendering import document_shown
from store.errors import BundleDamaged, BundleUnknown, ShardRefused
from store.ledger import ledger
from store.ledger.erased import erased_by
from store.ledger.ledger import Leaf
from store.releases import bundles, cascades
from store.releases.bundles import BundleRecord
from store.traffic import decisions, labels
from store.traffic.decisions import StoredDecision
from store.traffic.labels import StoredLabel
from store.traffic.undeclared import undeclared_models

GATE_NAMES = {
    Reason.P_T: "probability of the answer's token",
    Reason.P_IK: "probe: chance of being right",
    Reason.SCORE: "combined chance of being right",
    Reason.OOD: "distance from what the probe has seen",
}
FAULTS = {
    Reason.NO_BUNDLE: "no bundle was in force",
    Reason.EXPIRED: "the assignment had expired",
    Reason.OBSERVE: "the cascade was observed, and not switched on",
    Reason.ESCALATE_ALL: "the policy keeps nothing at this tier",
    Reason.P_T_KIND_MISMATCH: "P(T) was of another kind than the thresholds are for",
    Reason.FINGERPRINT_MISMATCH: "the hidden state was not one that the probe was fitted on",
    Reason.MISSING_SIGNAL: "a signal was missing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptShown:
    """One attempt with its story."""

    attempt: Attempt
    tier_name: str
    story: str
    undeclared: str | None  # the model that the cascade declares, where the attempt ran another one
    gflops: float | None
    labels: tuple[StoredLabel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionPage:
    """All that the page shows."""

    decision: Decision
    stored: StoredDecision
    attempts: tuple[AttemptShown, ...]
    bundle: BundleRecord | None
    certificate: dict[str, Any] | None
    instead: Counterfactual | None  # by today's champion; None where there is none, or it cannot be read
    leaves: tuple[Leaf, ...]  # what the ledger says of it
    erased_by: str | None  # None = not erased, or before that was recorded


def decision_page(session: Session, decision_id: UUID) -> DecisionPage:
    """The page of one decision. Raises DecisionUnknown."""
    stored = decisions.stored_decision(session, decision_id)
    decision = stored.decision
    spec = cascades.cascade(session, decision.cascade)
    said = labels.labels_of(session, decision_id)
    record = _bundle(session, decision.bundle)
    declared = {one.tier: one.declared for one in undeclared_models([(decision, spec)])}
    return DecisionPage(
        decision=decision,
        stored=stored,
        attempts=tuple(
            AttemptShown(
                attempt=attempt,
                tier_name=_tier_name(spec, attempt.tier),
                story=story(attempt, decision, spec),
                undeclared=declared.get(attempt.tier),
                gflops=gflops,
                labels=tuple(label for label in said if label.tier == attempt.tier),
            )
            for attempt, gflops in zip(decision.attempts, stored.gflops, strict=True)
        ),
        bundle=record,
        certificate=None if record is None else document_shown(record.document).get("certificate"),
        instead=_instead(session, decision),
        leaves=ledger.leaves_of(session, str(decision_id)),
        erased_by=erased_by(session, decision_id),
    )


def story(attempt: Attempt, decision: Decision, spec: CascadeSpec) -> str:
    """What happened at this attempt, in a sentence."""
    verdict = attempt.verdict
    reason = None if verdict is None else verdict.reason
    beside = FAULTS[reason] if reason in NOTHING_KEPT and reason is not None else None
    chance = "by chance" if attempt.run_propensity is None else f"with a chance of {percent(attempt.run_propensity)}"
    if attempt.role is Role.SKIPPED and beside is not None:
        return f"Nobody waited for it, since {beside}; it did not run."
    if attempt.role is Role.EXPLORATION and beside is not None:
        return f"It ran {chance} beside the last tier, to learn from, since {beside}; its answer was not served."
    if attempt.role is Role.SKIPPED and verdict is not None:
        return f"It was ended before it answered. {_onwards(attempt, spec)}."
    if attempt.role is Role.EXPLORATION and verdict is not None:
        return f"It answered {chance}, to learn from, though a gate had ended it. {_onwards(attempt, spec)}."
    if attempt.role is Role.EXPLORATION:
        rate = f"with a chance of {percent(decision.exploration_rate)}" if decision.exploration_rate else "by chance"
        return f"It ran {rate}, to learn from; its answer was not served."
    if verdict is None and attempt.role is Role.SUPERSEDED:
        return f"The query went on to {_tier_name(spec, attempt.tier + 1)}; whoever sent the decision logged no reason."
    if attempt.fault is Reason.UNCERTIFIED_REQUEST:
        return "No certificate covers the request, so the last tier alone answered it; the note says why."
    if verdict is None:
        return "It was the last tier to be asked, and its answer was served."
    if verdict.retained:
        gates = "every gate passed" if verdict.gates else "no gate stood against it"
        by = " by the fallback policy, since a signal was missing" if verdict.fallback else ""
        return f"Its answer was kept{by}: {gates}."
    return f"{_onwards(attempt, spec)}."


def _onwards(attempt: Attempt, spec: CascadeSpec) -> str:
    """Where the query went on to, and why."""
    onwards = f"The query went on to {_tier_name(spec, attempt.tier + 1)}"
    reason, gates = (None, ()) if attempt.verdict is None else (attempt.verdict.reason, attempt.verdict.gates)
    failed = next((gate for gate in gates if gate.gate is reason and not gate.passed), None)
    if failed is not None:
        return f"{onwards}: {gate_sentence(failed)}"
    return f"{onwards}: {FAULTS.get(reason, 'no reason was logged') if reason is not None else 'no reason was logged'}"


def gate_sentence(gate: GateOutcome) -> str:
    """What one gate saw.

    >>> gate_sentence(GateOutcome(gate=Reason.P_T, value=0.5, threshold=0.8, passed=False))
    'p_t was 0.5000, at least 0.8000 is needed'
    """
    bound = "at most" if gate.gate is Reason.OOD else "at least"
    value = "missing" if gate.value is None else f"{gate.value:.4f}"
    needs = "is needed" if not gate.passed else "is asked for"
    return f"{gate.gate} was {value}, {bound} {gate.threshold:.4f} {needs}"


def _tier_name(spec: CascadeSpec, tier: int) -> str:
    return spec.tiers[tier].name if tier < len(spec.tiers) else f"tier {tier}"


def _instead(session: Session, decision: Decision) -> Counterfactual | None:
    try:
        return by_another(session, decision)
    except (BundleDamaged, BundleRefused, BundleUnknown, ShardRefused):
        return None  # the page is about what happened


def _bundle(session: Session, bundle_id: str | None) -> BundleRecord | None:
    if bundle_id is None:
        return None
    try:
        return bundles.bundle(session, bundle_id)
    except BundleUnknown:
        return None  # a runtime may serve a bundle that was made elsewhere

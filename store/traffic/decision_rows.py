"""Decisions and attempts to rows and back: what is kept of a record, what is filled in, what is
left out.

Costs and GFLOPs that the sender did not give are filled from the cascade's dated prices. Prompts
and answers are kept as the cascade's privacy allows, whatever was sent.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from knowgate._records.records import (
    Action,
    Attempt,
    Decision,
    Fingerprint,
    GateOutcome,
    PTKind,
    Reason,
    Role,
    Signals,
    Verdict,
)
from knowgate._wire import codec
from knowgate.spec import CascadeSpec, Privacy, TierSpec
from store.tables import AttemptRow, DecisionRow


def as_stored(decision: Decision, spec: CascadeSpec) -> Decision:
    """The record as it will be read back: priced, within the cascade's privacy, without its place
    in the batch.
    """
    keeps_answers = spec.privacy is not Privacy.NEVER
    attempts = tuple(
        replace(
            attempt,
            cost_usd=_cost(attempt, spec.tiers[attempt.tier], decision.occurred_at),
            answer=attempt.answer if keeps_answers else None,
            vector=None,
        )
        for attempt in sorted(decision.attempts, key=lambda attempt: attempt.tier)
    )
    return replace(
        decision,
        attempts=attempts,
        prompt=decision.prompt if spec.privacy is Privacy.FULL else None,
        prompt_hash=decision.prompt_hash if keeps_answers else None,
    )


def decision_row(decision: Decision, *, version: int, received_at: datetime) -> dict[str, Any]:
    """The row of a decision as stored."""
    return {
        "id": decision.id,
        "cascade": decision.cascade,
        "occurred_at": decision.occurred_at,
        "received_at": received_at,
        "external_id": decision.external_id,
        "slice": decision.slice,
        "prompt": decision.prompt,
        "prompt_hash": decision.prompt_hash,
        "generation": decision.generation,
        "bundle": decision.bundle,
        "exploration_rate": decision.exploration_rate,
        "served_tier": decision.served.tier,
        "spec_version": version,
        "erased_at": None,
    }


def attempt_row(decision: Decision, attempt: Attempt, spec: CascadeSpec) -> dict[str, Any]:
    """The row of one attempt of a decision as stored."""
    verdict = attempt.verdict
    return {
        "decision_id": decision.id,
        "tier": attempt.tier,
        "role": attempt.role.value,
        "model": attempt.model,
        "p_t": attempt.signals.p_t,
        "p_ik": attempt.signals.p_ik,
        "score": attempt.signals.score,
        "ood": attempt.signals.ood,
        "entropy": attempt.entropy,
        "margin": attempt.margin,
        "p_t_kind": None if attempt.p_t_kind is None else attempt.p_t_kind.value,
        "note": attempt.note,
        "action": None if verdict is None else verdict.action.value,
        "reason": None if verdict is None or verdict.reason is None else verdict.reason.value,
        "fallback": None if verdict is None else verdict.fallback,
        "gates": None if verdict is None else [_gate(outcome) for outcome in verdict.gates],
        "fault": None if attempt.fault is None else attempt.fault.value,
        "fingerprint": None if attempt.fingerprint is None else fingerprint_id(attempt.fingerprint),
        "answer": attempt.answer,
        "run_propensity": attempt.run_propensity,
        "tokens_in": attempt.tokens_in,
        "tokens_out": attempt.tokens_out,
        "latency_ms": attempt.latency_ms,
        "cost_usd": attempt.cost_usd,
        "gflops": _gflops(attempt, spec.tiers[attempt.tier]),
    }


def fingerprint_id(fingerprint: Fingerprint) -> str:
    """Hex SHA-256 of the canonical JSON."""
    return hashlib.sha256(codec.canonical(fingerprint)).hexdigest()


def read_decision(
    row: DecisionRow, attempts: Sequence[AttemptRow], fingerprints: Mapping[str, Fingerprint]
) -> Decision:
    """The record of a row and its attempts."""
    return Decision(
        id=row.id,
        cascade=row.cascade,
        occurred_at=row.occurred_at,
        attempts=tuple(_read_attempt(attempt, fingerprints) for attempt in attempts),
        external_id=row.external_id,
        slice=row.slice,
        prompt=row.prompt,
        prompt_hash=row.prompt_hash,
        generation=row.generation,
        bundle=row.bundle,
        exploration_rate=row.exploration_rate,
    )


def _cost(attempt: Attempt, tier: TierSpec, occurred_at: datetime) -> float | None:
    price = tier.price_at(occurred_at)
    if attempt.cost_usd is not None or price is None:
        return attempt.cost_usd
    if attempt.tokens_in is None or attempt.tokens_out is None:
        return None
    return price.cost_usd(attempt.tokens_in, attempt.tokens_out)


def _gflops(attempt: Attempt, tier: TierSpec) -> float | None:
    if attempt.tokens_in is None or attempt.tokens_out is None:
        return None
    return tier.gflops(attempt.tokens_in + attempt.tokens_out)


def _gate(outcome: GateOutcome) -> list[Any]:
    return [outcome.gate.value, outcome.value, outcome.threshold, outcome.passed]


def _read_attempt(row: AttemptRow, fingerprints: Mapping[str, Fingerprint]) -> Attempt:
    return Attempt(
        tier=row.tier,
        role=Role(row.role),
        model=row.model,
        signals=Signals(p_t=row.p_t, p_ik=row.p_ik, score=row.score, ood=row.ood),
        verdict=_read_verdict(row),
        fingerprint=None if row.fingerprint is None else fingerprints[row.fingerprint],
        fault=None if row.fault is None else Reason(row.fault),
        entropy=row.entropy,
        margin=row.margin,
        p_t_kind=None if row.p_t_kind is None else PTKind(row.p_t_kind),
        note=row.note,
        answer=row.answer,
        run_propensity=row.run_propensity,
        tokens_in=row.tokens_in,
        tokens_out=row.tokens_out,
        latency_ms=row.latency_ms,
        cost_usd=row.cost_usd,
    )


def _read_verdict(row: AttemptRow) -> Verdict | None:
    if row.action is None:
        return None
    gates = tuple(
        GateOutcome(gate=Reason(gate), value=value, threshold=float(threshold), passed=passed)
        for gate, value, threshold, passed in row.gates or ()
    )
    reason = None if row.reason is None else Reason(row.reason)
    return Verdict(action=Action(row.action), reason=reason, gates=gates, fallback=bool(row.fallback))

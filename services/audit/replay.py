"""Replay: the stored decision is decided again, and must come out the same.

Twice, in fact. From the stored signals the verdict must be equal in every part: action, reason,
each gate's value and outcome. From the stored vector the signals are computed anew; they must agree
within the runtime's stated tolerance and lead to the same action, unless a signal lies closer to
its threshold than that tolerance.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from knowgate import Attempt, Bundle, Decision, Reason, Role, Signals, Verdict
from knowgate._bundles.tier_models import REPLAY_TOLERANCE
from knowgate.policy import Policy, decide, escalate_all
from store.shards.shards import Float16Array

SIGNALS = ("p_t", "p_ik", "score", "ood")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One way in which a replay came out differently."""

    tier: int
    what: str  # verdict, policy, or the signal's name
    stored: str
    replayed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What came of deciding a stored decision again."""

    decision_id: str
    attempts: int  # verdicts replayed from stored signals
    vectors: int  # of these, also from the stored vector
    mismatches: tuple[Mismatch, ...]

    @property
    def matches(self) -> bool:
        return not self.mismatches


def replay(decision: Decision, bundle: Bundle | None, vectors: Mapping[int, Float16Array]) -> Replay:
    """Decide `decision` again with `bundle` (the one it names; None where it names none).

    `vectors` holds the stored hidden state [d] of the tiers that have one.
    """
    decided = [attempt for attempt in decision.attempts if attempt.verdict is not None]
    mismatches: list[Mismatch] = []
    recomputed = 0
    for attempt in decided:
        mismatches += _from_signals(attempt, bundle)
        vector = vectors.get(attempt.tier)
        if vector is not None and bundle is not None and _met(attempt, bundle):
            recomputed += 1
            mismatches += _from_vector(decision, attempt, bundle, vector)
    return Replay(decision_id=str(decision.id), attempts=len(decided), vectors=recomputed, mismatches=tuple(mismatches))


def _from_signals(attempt: Attempt, bundle: Bundle | None) -> list[Mismatch]:
    verdict = _decide(attempt, attempt.signals, bundle)
    if verdict == attempt.verdict:
        return []
    return [Mismatch(tier=attempt.tier, what="verdict", stored=str(attempt.verdict), replayed=str(verdict))]


def _from_vector(decision: Decision, attempt: Attempt, bundle: Bundle, vector: Float16Array) -> list[Mismatch]:
    models = bundle.tiers[attempt.tier]
    if models is None:
        return []
    other_kind = attempt.fault is Reason.P_T_KIND_MISMATCH  # its P(T) was looked at by nothing
    signals = models.signals(
        p_t=None if other_kind else attempt.signals.p_t,
        hidden=vector,
        tokens_in=attempt.tokens_in,
        entropy=attempt.entropy,
        margin=attempt.margin,
        slice=decision.slice,
    )
    differing = [
        Mismatch(tier=attempt.tier, what=name, stored=str(stored), replayed=str(again))
        for name in SIGNALS
        if not (other_kind and name == "p_t")
        and not _close(stored := getattr(attempt.signals, name), again := getattr(signals, name))
    ]
    verdict = _decide(attempt, signals, bundle)
    if attempt.verdict is not None and verdict.action is not attempt.verdict.action and not _marginal(verdict):
        stored_action = str(attempt.verdict.action)
        differing.append(Mismatch(tier=attempt.tier, what="action", stored=stored_action, replayed=str(verdict.action)))
    return differing


def _met(attempt: Attempt, bundle: Bundle) -> bool:
    """Whether the probe looked at the attempt's hidden state."""
    if attempt.fault is not Reason.P_T_KIND_MISMATCH:  # of two mismatches that one is the reason
        return attempt.fault is not Reason.FINGERPRINT_MISMATCH
    models = bundle.tiers[attempt.tier]
    return models is not None and attempt.fingerprint == models.document.fingerprint


def _decide(attempt: Attempt, signals: Signals, bundle: Bundle | None) -> Verdict:
    """The verdict on `signals`; a tier that a gate ended early was ruled on before it answered, by
    what it had shown by then.
    """
    policy: Policy = escalate_all(attempt.tier + 2) if bundle is None else bundle.document.policy
    if attempt.role is Role.EXPLORATION and attempt.verdict is not None:
        seen = {gate.gate.value for gate in attempt.verdict.gates}
        signals = replace(signals, **{name: None for name in SIGNALS if name not in seen})
    by_a_gate = attempt.verdict is not None and bool(attempt.verdict.gates)
    early = by_a_gate and attempt.role in (Role.SKIPPED, Role.EXPLORATION)
    return decide(policy, signals, tier=attempt.tier, fault=attempt.fault, early=early)


def _close(stored: float | None, again: float | None) -> bool:
    if stored is None or again is None:
        return stored is again
    return abs(stored - again) <= REPLAY_TOLERANCE


def _marginal(verdict: Verdict) -> bool:
    """Whether some gate's value lies so close to its threshold that another machine may decide
    otherwise.
    """
    return any(
        gate.value is not None and abs(gate.value - gate.threshold) <= REPLAY_TOLERANCE for gate in verdict.gates
    )

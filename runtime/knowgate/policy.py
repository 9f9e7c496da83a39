"""The heart: `decide(policy, signals) -> Verdict`.

Serving, replay, simulation, certification and the promotion check all decide here, and nothing else
decides. A policy holds a list of gates per non-last tier, in the order in which they are reasons; a
gate compares one signal with one threshold. `None` in place of gates retains nothing at that tier.

`retain_mask` and `ended_mask` are the same comparisons over arrays (property tests hold them
together): all go through `Gate.passes`, and NaN is how an array says "missing".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

import numpy as np

from knowgate._records.arrays import BoolArray, FloatArray, IntArray
from knowgate._records.construction import gate_outcome, verdict
from knowgate._records.records import Action, GateOutcome, Reason, Signals, Verdict
from knowgate.errors import RecordInvalid

Values = TypeVar("Values", float, FloatArray)


class PolicyKind(StrEnum):
    ESCALATE_ALL = "escalate_all"
    P_T = "p_t"
    P_IK = "p_ik"
    GATES = "gates"
    SCORE = "score"


_AT_MOST = Reason.OOD  # the one signal whose low values are good
_BEFORE_AN_ANSWER = (Reason.P_IK, Reason.OOD)  # signals of the prompt alone
_RETAIN = Action.RETAIN  # to ask an enum for its member takes 90 ns, each time

# The gates of each kind, in the order in which a failing one is the reason.
GATES_OF: Mapping[PolicyKind, tuple[Reason, ...]] = {
    PolicyKind.ESCALATE_ALL: (),
    PolicyKind.P_T: (Reason.P_T,),
    PolicyKind.P_IK: (Reason.P_IK,),
    PolicyKind.GATES: (Reason.P_IK, Reason.P_T, Reason.OOD),
    PolicyKind.SCORE: (Reason.SCORE,),
}


# Faults that take some signals away and leave the rest to the gates.
WITHHOLDING = (Reason.FINGERPRINT_MISMATCH, Reason.P_T_KIND_MISMATCH)
# Faults that are known before any tier is asked, and with which none but the last can be kept.
NOTHING_KEPT = (Reason.NO_BUNDLE, Reason.EXPIRED, Reason.OBSERVE, Reason.ESCALATE_ALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One signal against one threshold: at least it, or, for `ood`, at most it."""

    signal: Reason
    threshold: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise RecordInvalid("threshold", self.threshold, f"the {self.signal} threshold lies in [0, 1]")

    def passes(self, value: Values) -> Values:
        """Whether `value` passes; a NaN never does. Elementwise on arrays."""
        if self.signal is _AT_MOST:
            return value <= self.threshold  # type: ignore[return-value]
        return value >= self.threshold  # type: ignore[return-value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Gates of one kind for every non-last tier, and the certified policy for missing signals.

    `rules[i]` are tier i's gates in order; None = tier i retains nothing. All tiers have the gates
    of `kind` (`gates` may go without its `ood` gate).
    """

    kind: PolicyKind
    rules: tuple[tuple[Gate, ...] | None, ...]
    fallback: "Policy | None" = None

    def __post_init__(self) -> None:
        wanted = GATES_OF[self.kind]
        for tier, gates in enumerate(self.rules):
            if gates is None:
                continue
            signals = tuple(gate.signal for gate in gates)
            fits = signals == wanted or (self.kind is PolicyKind.GATES and signals == wanted[:2])
            if not (signals and fits):  # a tier without gates would retain everything
                expected = ", ".join(wanted) or "no gates: use null"
                raise RecordInvalid(f"rules[{tier}]", ", ".join(signals), f"a {self.kind} policy holds {expected}")
        if self.fallback is not None:
            if self.fallback.fallback is not None:
                raise RecordInvalid("fallback", "nested", "a fallback has no fallback of its own")
            if len(self.fallback.rules) != len(self.rules):
                raise RecordInvalid("fallback.rules", len(self.fallback.rules), f"give {len(self.rules)} rules")

    @classmethod
    def of(
        cls,
        kind: PolicyKind,
        thresholds: "tuple[Mapping[str, float] | None, ...]",
        fallback: "Policy | None" = None,
    ) -> "Policy":
        """A policy from one mapping of gate name to threshold per non-last tier (None retains
        nothing).

        >>> Policy.of(PolicyKind.P_T, ({"p_t": 0.9},)).rules
        ((Gate(signal=<Reason.P_T: 'p_t'>, threshold=0.9),),)
        """
        rules = tuple(_gates(kind, tier, row) for tier, row in enumerate(thresholds))
        return cls(kind=kind, rules=rules, fallback=fallback)

    @property
    def thresholds(self) -> tuple[dict[str, float] | None, ...]:
        """One mapping of gate name to threshold per non-last tier; None retains nothing."""
        return tuple(
            None if gates is None else {str(gate.signal): gate.threshold for gate in gates} for gates in self.rules
        )


def escalate_all(tiers: int) -> Policy:
    """The policy that keeps nothing, for a cascade of `tiers` tiers."""
    return Policy(kind=PolicyKind.ESCALATE_ALL, rules=(None,) * (tiers - 1))


def decide(
    policy: Policy, signals: Signals, *, tier: int = 0, fault: Reason | None = None, early: bool = False
) -> Verdict:
    """Whether to keep the answer of non-last tier `tier`, which showed `signals`.

    `fault` is what the runtime found before any gate: without a bundle, expired or made to escalate
    everything, the answer is to escalate; with a fingerprint mismatch the hidden-state signals must
    not be given, and the fallback decides. With a P(T) of another kind than the thresholds were
    certified for, P(T) and score count as missing. A missing signal goes to the fallback too. A
    fault may cost money, never accuracy.

    `early` = before the tier has answered, when a signal that is None may still come: a known one
    that fails its gate escalates, anything else is `not_yet`.

    >>> policy = Policy.of(PolicyKind.GATES, ({"p_ik": 0.5, "p_t": 0.9, "ood": 0.99},))
    >>> decide(policy, Signals(p_t=0.95, p_ik=0.7, ood=0.3)).action
    <Action.RETAIN: 'retain'>
    >>> decide(policy, Signals(p_t=0.95, p_ik=0.2, ood=0.3)).reason
    <Reason.P_IK: 'p_ik'>
    >>> decide(policy, Signals(p_t=0.95)).reason
    <Reason.MISSING_SIGNAL: 'missing_signal'>
    >>> [str(decide(policy, Signals(p_ik=p_ik), early=True).action) for p_ik in (0.2, 0.7)]
    ['escalate', 'not_yet']
    """
    if early:
        return _decide_early(policy, signals, tier, fault)
    if fault is not None:
        if fault not in WITHHOLDING:
            return Verdict(action=Action.ESCALATE, reason=fault)
        if fault is Reason.P_T_KIND_MISMATCH:
            signals = replace(signals, p_t=None, score=None)
    gates = policy.rules[tier]
    if gates is None:
        return Verdict(action=Action.ESCALATE, reason=Reason.ESCALATE_ALL)
    outcomes = _look(gates, signals)
    for outcome in outcomes:
        if not outcome.passed:  # one that is missing passes nothing
            if any(outcome.value is None for outcome in outcomes):
                return _decide_without(policy, signals, tier, fault or Reason.MISSING_SIGNAL, outcomes)
            return verdict(Action.ESCALATE, outcome.gate, outcomes, False)
    return verdict(_RETAIN, None, outcomes, False)


def gates_before_an_answer(policy: Policy, tier: int) -> bool:
    """Whether some gate of non-last tier `tier` can be judged before the tier has answered."""
    return any(gate.signal in _BEFORE_AN_ANSWER for gate in policy.rules[tier] or ())


def decided_before_an_answer(policy: Policy, tier: int) -> bool:
    """Whether every gate of non-last tier `tier` can be judged before the tier has answered, so
    that what passes is kept whatever it says.
    """
    gates = policy.rules[tier]
    return gates is not None and all(gate.signal in _BEFORE_AN_ANSWER for gate in gates)


def retain_mask(
    policy: Policy, signals: Mapping[str, FloatArray], *, tier: int = 0, ran: BoolArray | None = None
) -> BoolArray:
    """`decide` over arrays: which rows tier `tier` retains.

    `signals` maps gate names to float64 arrays of one shape [n], NaN = missing; a gate's absent
    array is all missing. `ran` [n] says where the tier answered, everywhere unless given: one that
    did not may have kept anything, so it counts as having kept, unless the policy lets it keep
    nothing at all or a signal that is known all the same fails its gate.
    """
    rows = len(next(iter(signals.values())))
    gates = policy.rules[tier]
    if gates is None:
        return np.zeros(rows, dtype=bool)
    columns = [signals.get(str(gate.signal), np.full(rows, np.nan)) for gate in gates]
    missing = np.zeros(rows, dtype=bool)
    passed = np.ones(rows, dtype=bool)
    failed = np.zeros(rows, dtype=bool)
    for gate, column in zip(gates, columns, strict=True):
        known, passes = np.isfinite(column), gate.passes(column).astype(bool)
        missing |= ~known
        passed &= passes
        failed |= known & ~passes
    passed &= ~missing
    if policy.fallback is not None:
        passed |= missing & retain_mask(policy.fallback, signals, tier=tier)
    return passed if ran is None else np.where(ran, passed, ~failed)


def ended_mask(policy: Policy, signals: Mapping[str, FloatArray], *, tier: int = 0) -> BoolArray:
    """`decide(early=True)` over arrays: on which rows [n] tier `tier` is ended before it answers,
    by a signal of the prompt that is known and fails. `signals` are as in `retain_mask`.

    >>> policy = Policy.of(PolicyKind.GATES, ({"p_ik": 0.5, "p_t": 0.9},))
    >>> ended_mask(policy, {"p_ik": np.array([0.4, 0.6, np.nan]), "p_t": np.zeros(3)}).tolist()
    [True, False, False]
    """
    rows = len(next(iter(signals.values())))
    ended = np.zeros(rows, dtype=bool)
    for gate in policy.rules[tier] or ():
        if gate.signal in _BEFORE_AN_ANSWER and str(gate.signal) in signals:
            values = signals[str(gate.signal)]
            ended |= np.isfinite(values) & ~gate.passes(values).astype(bool)
    return ended


def kept_tiers(policy: Policy, signals: Sequence[Mapping[str, FloatArray]], ran: BoolArray | None = None) -> IntArray:
    """The tier whose answer each row keeps: the first that retains it, else the last.

    `signals` holds per non-last tier what `retain_mask` takes, all of one length n, and `ran` [n,
    tiers], of which the last tier's column may be left out, where each ran. Returns int64 [n].

    >>> policy = Policy.of(PolicyKind.P_T, ({"p_t": 0.9},))
    >>> kept_tiers(policy, [{"p_t": np.array([0.95, 0.2, np.nan])}]).tolist()
    [0, 1, 1]
    """
    return first_retaining(
        [
            retain_mask(policy, shown, tier=tier, ran=None if ran is None else ran[:, tier])
            for tier, shown in enumerate(signals)
        ]
    )


def first_retaining(masks: Sequence[BoolArray]) -> IntArray:
    """int64 [n]: the first tier whose mask [n] retains the row, else the last tier (= the number of
    masks).

    >>> first_retaining([np.array([True, False, False]), np.array([True, True, False])]).tolist()
    [0, 1, 2]
    """
    kept = np.full(len(masks[0]), len(masks), dtype=np.int64)
    for tier in reversed(range(len(masks))):
        kept[masks[tier]] = tier
    return kept


def _gates(kind: PolicyKind, tier: int, row: Mapping[str, float] | None) -> tuple[Gate, ...] | None:
    if row is None:
        return None
    unknown = sorted(set(row) - set(GATES_OF[kind]))
    if unknown:
        raise RecordInvalid(f"thresholds[{tier}].{unknown[0]}", row[unknown[0]], f"a {kind} policy has no such gate")
    return tuple(Gate(signal=name, threshold=row[name]) for name in GATES_OF[kind] if name in row)


def _look(gates: tuple[Gate, ...], signals: Signals) -> tuple[GateOutcome, ...]:
    outcomes = []
    for gate in gates:
        signal = gate.signal
        value: float | None = getattr(signals, signal)
        passed = value is not None and bool(gate.passes(value))
        outcomes.append(gate_outcome(signal, value, gate.threshold, passed))
    return tuple(outcomes)


def _decide_early(policy: Policy, signals: Signals, tier: int, fault: Reason | None) -> Verdict:
    """`decide` before the answer. A fault that leaves nothing in force ends no tier: its answer
    teaches.
    """
    if fault is Reason.P_T_KIND_MISMATCH:
        signals = replace(signals, p_t=None, score=None)
    gates = policy.rules[tier] if fault is None or fault in WITHHOLDING else None
    outcomes = tuple(outcome for outcome in _look(gates or (), signals) if outcome.value is not None)
    for outcome in outcomes:
        if not outcome.passed:
            return Verdict(action=Action.ESCALATE, reason=outcome.gate, gates=outcomes)
    return Verdict(action=Action.NOT_YET, reason=None, gates=outcomes)


def _decide_without(
    policy: Policy, signals: Signals, tier: int, reason: Reason, outcomes: tuple[GateOutcome, ...]
) -> Verdict:
    """A signal is missing: the fallback decides where it can, else the query escalates for that
    reason.
    """
    gates = policy.fallback.rules[tier] if policy.fallback is not None else None
    if gates is None:
        return Verdict(action=Action.ESCALATE, reason=reason, gates=outcomes)
    seconds = _look(gates, signals)
    if any(outcome.value is None for outcome in seconds):
        return Verdict(action=Action.ESCALATE, reason=reason, gates=outcomes + seconds)
    failed = next((outcome.gate for outcome in seconds if not outcome.passed), None)
    action = Action.RETAIN if failed is None else Action.ESCALATE
    return Verdict(action=action, reason=failed, gates=outcomes + seconds, fallback=True)

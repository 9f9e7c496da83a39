"""The heart: one comparison, the same over rows and arrays, and exact when replayed."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowgate._records.records import Action, Reason, Signals
from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from knowgate.policy import (
    GATES_OF,
    WITHHOLDING,
    Gate,
    Policy,
    PolicyKind,
    decide,
    ended_mask,
    escalate_all,
    gates_before_an_answer,
    kept_tiers,
    retain_mask,
)

# A coarse grid makes values meet thresholds exactly, where >= and > differ.
UNIT = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.floats(min_value=0, max_value=1))
MAYBE = st.one_of(UNIT, st.sampled_from([math.nan, math.inf, -math.inf]), st.none())
SIGNALS = st.fixed_dictionaries(dict.fromkeys(("p_t", "p_ik", "score", "ood"), MAYBE))


@st.composite
def rules(draw: st.DrawFn, kind: PolicyKind) -> dict[str, float] | None:
    if kind is PolicyKind.ESCALATE_ALL or draw(st.integers(0, 9)) == 0:
        return None
    row = {str(gate): draw(UNIT) for gate in GATES_OF[kind]}
    if kind is PolicyKind.GATES and draw(st.booleans()):
        del row["ood"]
    return row


@st.composite
def policies(draw: st.DrawFn, tiers: int = 2, with_fallback: bool = True) -> Policy:
    kind = draw(st.sampled_from(PolicyKind))
    fallback = draw(st.none() | policies(tiers, with_fallback=False)) if with_fallback else None
    return Policy.of(kind, tuple(draw(rules(kind)) for _ in range(tiers)), fallback=fallback)


def columns(rows: list[dict[str, float | None]]) -> dict[str, np.ndarray]:
    names = ("p_t", "p_ik", "score", "ood")
    return {name: np.array([math.nan if row[name] is None else row[name] for row in rows]) for name in names}


@given(policies(), st.lists(SIGNALS, min_size=1, max_size=20), st.sampled_from([0, 1]))
def test_rows_and_arrays_are_decided_alike(policy: Policy, rows: list[dict[str, float | None]], tier: int) -> None:
    one_by_one = [decide(policy, Signals(**row), tier=tier).retained for row in rows]
    assert retain_mask(policy, columns(rows), tier=tier).tolist() == one_by_one


@given(policies(), st.lists(SIGNALS, min_size=1, max_size=20), st.sampled_from([0, 1]))
def test_rows_and_arrays_are_ended_before_an_answer_alike(
    policy: Policy, rows: list[dict[str, float | None]], tier: int
) -> None:
    before = [Signals(p_ik=row["p_ik"], ood=row["ood"]) for row in rows]
    one_by_one = [decide(policy, shown, tier=tier, early=True).action is Action.ESCALATE for shown in before]
    assert ended_mask(policy, columns(rows), tier=tier).tolist() == one_by_one


@given(policies(), st.lists(SIGNALS, min_size=1, max_size=20))
def test_the_kept_tier_is_the_first_that_retains(policy: Policy, rows: list[dict[str, float | None]]) -> None:
    expected = [
        next((tier for tier in (0, 1) if decide(policy, Signals(**row), tier=tier).retained), 2) for row in rows
    ]
    assert kept_tiers(policy, [columns(rows)] * 2).tolist() == expected


@given(policies(), SIGNALS, st.sampled_from([None, Reason.FINGERPRINT_MISMATCH, Reason.EXPIRED, Reason.NO_BUNDLE]))
def test_a_stored_decision_replays_exactly(policy: Policy, row: dict[str, float | None], fault: Reason | None) -> None:
    signals = Signals(**row)
    stored = json.dumps([codec.encode(policy), codec.encode(signals)])
    policy_again, signals_again = json.loads(stored)
    replayed = decide(codec.decode(Policy, policy_again), codec.decode(Signals, signals_again), fault=fault)
    assert replayed == decide(policy, signals, fault=fault)


@given(policies(), SIGNALS)
def test_whatever_is_retained_passed_every_gate_that_decided(policy: Policy, row: dict[str, float | None]) -> None:
    verdict = decide(policy, Signals(**row))
    if not verdict.retained:
        assert verdict.reason is not None
        return
    assert verdict.reason is None
    deciding = policy.fallback if verdict.fallback else policy
    assert deciding is not None
    assert deciding.rules[0]
    for gate in deciding.rules[0]:
        outcomes = [
            outcome for outcome in verdict.gates if (outcome.gate, outcome.threshold) == (gate.signal, gate.threshold)
        ]
        assert outcomes
        assert all(outcome.passed and outcome.value is not None for outcome in outcomes)


@given(policies(with_fallback=False), SIGNALS)
def test_a_missing_signal_never_retains_without_a_fallback(policy: Policy, row: dict[str, float | None]) -> None:
    gates = policy.rules[0] or ()
    signals = Signals(**row)
    if any(getattr(signals, gate.signal) is None for gate in gates):
        verdict = decide(policy, signals)
        assert (verdict.action, verdict.reason) == (Action.ESCALATE, Reason.MISSING_SIGNAL)


def test_the_first_failing_gate_is_the_reason() -> None:
    policy = Policy.of(PolicyKind.GATES, ({"p_ik": 0.5, "p_t": 0.9, "ood": 0.9},))
    cases = {
        (0.4, 0.1, 0.95): Reason.P_IK,
        (0.5, 0.1, 0.95): Reason.P_T,
        (0.5, 0.9, 0.95): Reason.OOD,
        (0.5, 0.9, 0.9): None,
    }
    for (p_ik, p_t, ood), reason in cases.items():
        verdict = decide(policy, Signals(p_ik=p_ik, p_t=p_t, ood=ood))
        assert verdict.reason is reason
        assert [gate.gate for gate in verdict.gates] == [Reason.P_IK, Reason.P_T, Reason.OOD]


@pytest.mark.parametrize("fault", [Reason.EXPIRED, Reason.NO_BUNDLE, Reason.ESCALATE_ALL])
def test_a_fault_before_the_gates_escalates_whatever_the_signals(fault: Reason) -> None:
    policy = Policy.of(PolicyKind.P_T, ({"p_t": 0.0},))
    verdict = decide(policy, Signals(p_t=1.0), fault=fault)
    assert (verdict.action, verdict.reason) == (Action.ESCALATE, fault)


def test_a_fingerprint_mismatch_is_decided_by_the_fallback() -> None:
    fallback = Policy.of(PolicyKind.P_T, ({"p_t": 0.97},))
    policy = Policy.of(PolicyKind.GATES, ({"p_ik": 0.5, "p_t": 0.9},), fallback=fallback)
    sure = decide(policy, Signals(p_t=0.98), fault=Reason.FINGERPRINT_MISMATCH)
    assert (sure.retained, sure.fallback) == (True, True)
    unsure = decide(policy, Signals(p_t=0.95), fault=Reason.FINGERPRINT_MISMATCH)
    assert (unsure.retained, unsure.reason, unsure.fallback) == (False, Reason.P_T, True)
    blind = decide(policy, Signals(), fault=Reason.FINGERPRINT_MISMATCH)
    assert (blind.retained, blind.reason) == (False, Reason.FINGERPRINT_MISMATCH)


def test_an_array_that_is_not_there_is_all_missing() -> None:
    policy = Policy.of(PolicyKind.GATES, ({"p_ik": 0.0, "p_t": 0.0},))
    assert retain_mask(policy, {"p_t": np.ones(3)}).tolist() == [False] * 3


def test_escalate_all_retains_nothing() -> None:
    assert not decide(escalate_all(2), Signals(p_t=1.0, p_ik=1.0, score=1.0, ood=0.0)).retained


@pytest.mark.parametrize("kind", list(PolicyKind))
def test_a_rule_without_gates_is_refused_because_it_would_retain_everything(kind: PolicyKind) -> None:
    with pytest.raises(RecordInvalid, match="rules"):
        Policy(kind=kind, rules=((),))


def test_a_rule_holds_the_gates_of_its_kind() -> None:
    with pytest.raises(RecordInvalid, match="a p_t policy has no such gate"):
        Policy.of(PolicyKind.P_T, ({"score": 0.5},))
    with pytest.raises(RecordInvalid, match="a gates policy holds p_ik, p_t, ood"):
        Policy.of(PolicyKind.GATES, ({"p_t": 0.5},))
    wrong_order = (Gate(signal=Reason.P_T, threshold=0.5), Gate(signal=Reason.P_IK, threshold=0.5))
    with pytest.raises(RecordInvalid, match="a gates policy holds"):
        Policy(kind=PolicyKind.GATES, rules=(wrong_order,))


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan, math.inf])
def test_a_threshold_lies_in_the_unit_interval(threshold: float) -> None:
    with pytest.raises(RecordInvalid, match="threshold"):
        Gate(signal=Reason.P_T, threshold=threshold)


def test_a_fallback_fits_its_policy_and_has_none_of_its_own() -> None:
    one = Policy.of(PolicyKind.P_T, ({"p_t": 0.9},))
    nested = Policy.of(PolicyKind.P_T, ({"p_t": 0.9},), fallback=one)
    with pytest.raises(RecordInvalid, match="no fallback of its own"):
        Policy.of(PolicyKind.P_T, ({"p_t": 0.9},), fallback=nested)
    with pytest.raises(RecordInvalid, match="give 2 rules"):
        Policy.of(PolicyKind.P_T, ({"p_t": 0.9}, None), fallback=one)


@given(policies())
def test_thresholds_rebuild_the_policy(policy: Policy) -> None:
    assert Policy.of(policy.kind, policy.thresholds, fallback=policy.fallback) == policy


@given(policies(with_fallback=False), SIGNALS, SIGNALS, st.sampled_from([None, *WITHHOLDING]))
def test_what_escalates_before_the_answer_escalates_whatever_the_answer_shows(
    policy: Policy, known: dict[str, float | None], later: dict[str, float | None], fault: Reason | None
) -> None:
    early = decide(policy, Signals(**known), fault=fault, early=True)
    shown = {name: later[name] if value is None else value for name, value in known.items()}
    if early.action is Action.ESCALATE:
        assert not decide(policy, Signals(**shown), fault=fault).retained
    else:
        assert early.action is Action.NOT_YET and early.reason is None
        assert all(gate.passed for gate in early.gates)


@pytest.mark.parametrize("fault", [Reason.NO_BUNDLE, Reason.EXPIRED, Reason.ESCALATE_ALL])
def test_a_tier_for_which_nothing_is_in_force_answers_all_the_same_since_that_teaches(fault: Reason) -> None:
    policy = Policy.of(PolicyKind.P_IK, ({"p_ik": 0.9},))
    assert decide(policy, Signals(p_ik=0.1), fault=fault, early=True).action is Action.NOT_YET
    assert decide(escalate_all(2), Signals(p_ik=0.1), early=True).action is Action.NOT_YET


def test_before_the_answer_only_known_signals_are_judged_and_listed() -> None:
    policy = Policy.of(PolicyKind.GATES, ({"p_ik": 0.5, "p_t": 0.9, "ood": 0.9},))
    verdict = decide(policy, Signals(p_ik=0.7, ood=0.95), early=True)
    assert (verdict.action, verdict.reason) == (Action.ESCALATE, Reason.OOD)
    assert [(gate.gate, gate.passed) for gate in verdict.gates] == [(Reason.P_IK, True), (Reason.OOD, False)]


def test_a_skipped_row_counts_as_kept_only_under_thresholds_that_would_let_it_answer() -> None:
    signals = {"p_ik": np.array([0.4, 0.4, np.nan]), "p_t": np.array([np.nan, 0.95, np.nan])}
    ran = np.array([False, True, False])
    masks = [
        retain_mask(Policy.of(PolicyKind.GATES, ({"p_ik": at, "p_t": 0.9},)), signals, ran=ran).tolist()
        for at in (0.5, 0.3)
    ]
    assert masks == [[False, False, True], [True, True, True]]


def test_whether_a_policy_can_end_a_tier_before_its_answer_depends_on_its_gates() -> None:
    two = {"p_ik": 0.5, "p_t": 0.9}
    assert gates_before_an_answer(Policy.of(PolicyKind.GATES, (two, None)), 0)
    assert not gates_before_an_answer(Policy.of(PolicyKind.GATES, (two, None)), 1)
    assert not gates_before_an_answer(Policy.of(PolicyKind.P_T, ({"p_t": 0.9},)), 0)

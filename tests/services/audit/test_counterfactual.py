"""What another bundle would have done with one decision."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import Engine

from knowgate import (
    Action,
    Bundle,
    Decision,
    Policy,
    PolicyKind,
    PTKind,
    Reason,
    Role,
    Signals,
    Verdict,
    decide,
    write_bundle,
)
from services.audit.counterfactual import counterfactual
from services.audit.explain import explain, find_decision
from services.clock import SimulatedClock
from services.commands.explanation import explanation_lines
from store.engine import reading, transaction
from store.traffic.decisions import add_decisions

SURE = np.array([2.0, 0.0, 0.0, 0.0], dtype=np.float16)


def of_policy(bundle: Bundle, kind: PolicyKind, **gates: float) -> Bundle:
    return write_bundle(replace(bundle.document, policy=Policy.of(kind, (gates,)), certificate=None), bundle.tiers)


def test_the_same_function_decides_on_what_the_other_bundle_makes_of_the_state(
    bundle: Bundle, decision: Callable[..., Decision]
) -> None:
    made, models = decision(), bundle.tiers[0]
    assert models is not None
    for state in (SURE, -SURE):
        said = counterfactual(made, bundle, {0: state}, is_champion=True)
        signals = models.signals(p_t=0.5, hidden=state, tokens_in=100, slice="geography")
        assert said.verdicts[0].verdict == decide(bundle.document.policy, signals)
        kept = said.verdicts[0].verdict.retained
        assert said.serves == (0 if kept else 1)


def test_what_nobody_knows_is_said_and_not_guessed(bundle: Bundle, decision: Callable[..., Decision]) -> None:
    made = decision()
    said = counterfactual(made, bundle, {}, is_champion=False)
    assert said.serves is None and "hidden state of tier 0 is not stored" in said.sentence
    by_p_t = of_policy(bundle, PolicyKind.P_T, p_t=0.4)
    assert counterfactual(made, by_p_t, {}, is_champion=False).serves == 0, "it looks at no state"
    early = Verdict(action=Action.ESCALATE, reason=Reason.P_IK)
    skipped = replace(made.attempts[0], role=Role.SKIPPED, signals=Signals(p_ik=0.9), verdict=early)
    ended = replace(made, attempts=(skipped, made.attempts[1]), bundle=bundle.id)
    assert "ended before it answered" in counterfactual(ended, bundle, {}, is_champion=False).sentence
    alone = replace(made, attempts=made.attempts[1:])
    assert "did not run" in counterfactual(alone, bundle, {}, is_champion=False).sentence


def test_a_state_of_another_probe_and_a_p_t_of_another_kind_meet_nothing(
    bundle: Bundle, decision: Callable[..., Decision]
) -> None:
    made = decision()
    first = made.attempts[0]
    assert first.fingerprint is not None
    foreign = replace(first, fingerprint=replace(first.fingerprint, layer=7))
    said = counterfactual(replace(made, attempts=(foreign, made.attempts[1])), bundle, {0: SURE}, is_champion=False)
    assert said.serves == 1 and said.verdicts[0].verdict is not None
    by_p_t = of_policy(bundle, PolicyKind.P_T, p_t=0.4)
    mean = replace(first, p_t_kind=PTKind.MEAN)
    said = counterfactual(replace(made, attempts=(mean, made.attempts[1])), by_p_t, {}, is_champion=False)
    verdict = said.verdicts[0].verdict
    assert verdict is not None and verdict.reason is Reason.P_T_KIND_MISMATCH


def test_an_explanation_says_what_todays_champion_or_another_would_have_done(
    engine: Engine, promoted: Bundle, decision: Callable[..., Decision], clock: SimulatedClock
) -> None:
    with transaction(engine) as session:
        add_decisions(session, [decision(0)], received_at=clock.now())
    with reading(engine) as session:
        stored = find_decision(session, "q0", None)
        explained = explain(session, stored)
        other = explain(session, stored, instead=promoted)
    assert explained.instead is not None and explained.instead.bundle == promoted.id
    assert explained.instead.is_champion and other.instead == explained.instead
    assert f"instead: {explained.instead.sentence}" in explanation_lines(explained)


@pytest.mark.usefixtures("trivia")
def test_without_a_champion_there_is_nothing_to_compare(
    engine: Engine, decision: Callable[..., Decision], clock: SimulatedClock
) -> None:
    with transaction(engine) as session:
        add_decisions(session, [decision(0)], received_at=clock.now())
    with reading(engine) as session:
        assert explain(session, find_decision(session, "q0", None)).instead is None

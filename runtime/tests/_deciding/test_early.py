"""A tier that a gate ends before it answers: skipped, or let answer by the exploration coin."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from factories import Kept
from knowgate._deciding.exploration import coin_falls
from knowgate._records.ids import new_id
from knowgate._records.observation import Observation
from knowgate._records.records import Action, Attempt, Reason, Role, Signals, Verdict
from knowgate._serving.cascade import Cascade
from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from knowgate.policy import Policy, PolicyKind

Make = Callable[..., Any]
STRICT = Policy.of(PolicyKind.GATES, ({"p_ik": 1.0, "p_t": 0.9},))  # no state passes this p_ik
OPEN = Policy.of(PolicyKind.GATES, ({"p_ik": 0.0, "p_t": 0.9},))


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def cascade_under(pair: Make, small_bundle: Make, key: bytes, now: datetime, kept: Kept) -> Callable[[Policy], Cascade]:
    def made(policy: Policy, **assigned: Any) -> Cascade:
        in_force = pair(small_bundle(policy=policy), **assigned)
        return Cascade("questions", in_force, hash_key=key, spool=kept, clock=lambda: now)

    return made


@pytest.fixture
def read(hidden: Make, fingerprint: Make) -> Observation:
    """What a tier shows once it has read the prompt."""
    return Observation(hidden=hidden(), fingerprint=fingerprint(), tokens_in=20, tokens_out=0)


def an_id(cascade: Cascade, *, explores: bool) -> UUID:
    key, rate = cascade.setting.key, 0.25
    return next(one for one in iter(new_id, None) if coin_falls(key, one, rate) is explores)


def test_a_tier_below_its_gate_is_skipped_and_the_next_one_is_served(
    cascade_under: Make, kept: Kept, read: Observation
) -> None:
    cascade = cascade_under(STRICT)
    with cascade.open(decision_id=an_id(cascade, explores=False)) as query:
        ruling = query.consider(read)
        assert (ruling.answers, ruling.retained) == (False, False)
        assert query.attempt(Observation(answer="Lima", p_t=0.9)).retained
    small, large = kept.attempts
    assert (small.role, large.role) == (Role.SKIPPED, Role.SERVED)
    assert (small.answer, small.signals.p_t, small.tokens_in, small.tokens_out) == (None, None, 20, 0)
    assert small.verdict is not None and small.verdict.reason is Reason.P_IK
    assert [gate.gate for gate in small.verdict.gates] == [Reason.P_IK]
    assert small.run_propensity == 0.25  # of an answer all the same
    assert len(kept.rows[0][1]) == 1 and small.vector == 0


def test_where_the_coin_falls_it_answers_to_be_learned_from_and_is_never_served(
    cascade_under: Make, kept: Kept, read: Observation
) -> None:
    cascade = cascade_under(STRICT)
    with cascade.open(decision_id=an_id(cascade, explores=True)) as query:
        before = query.consider(read)
        assert before.answers and before.explore and before.verdict.action is Action.ESCALATE
        ruling = query.attempt(Observation(answer="Cusco", p_t=0.99, tokens_out=4))
        assert not ruling.retained and not query.explore
        query.attempt(Observation(answer="Lima", p_t=0.9))
    small, large = kept.attempts
    assert (small.role, large.role) == (Role.EXPLORATION, Role.SERVED)
    assert (small.run_propensity, small.signals.p_t) == (0.25, 0.99)
    assert small.signals.p_ik == before.signals.p_ik
    assert small.verdict == before.verdict


def test_a_tier_that_passes_answers_and_its_state_need_not_be_shown_again(
    cascade_under: Make, kept: Kept, read: Observation
) -> None:
    cascade = cascade_under(OPEN)
    with cascade.open(decision_id=an_id(cascade, explores=False)) as query:
        ruling = query.consider(read)
        assert ruling.answers and ruling.verdict.action is Action.NOT_YET
        assert query.attempt(Observation(answer="Lima", p_t=0.95)).retained
    (small,) = kept.attempts
    assert (small.role, small.run_propensity, small.tokens_in) == (Role.SERVED, 1.0, 20)
    assert small.signals.p_ik == ruling.signals.p_ik


def test_without_a_coin_the_chance_of_a_skipped_answer_is_unknown(
    cascade_under: Make, kept: Kept, read: Observation
) -> None:
    with cascade_under(STRICT, exploration_rate=0.0).open() as query:
        assert not query.consider(read).answers
        query.attempt(Observation(p_t=0.9))
    assert kept.attempts[0].run_propensity is None


def test_as_many_skipped_tiers_answer_as_the_exploration_rate_says(cascade_under: Make, read: Observation) -> None:
    cascade = cascade_under(STRICT)
    answers = [cascade.open().consider(read).answers for _ in range(800)]
    assert 0.2 < np.mean(answers) < 0.3


def test_a_state_of_another_model_ends_nothing(cascade_under: Make, read: Observation, fingerprint: Make) -> None:
    shown = Observation(hidden=read.hidden, fingerprint=fingerprint(model="newer"), tokens_in=20)
    ruling = cascade_under(STRICT).open().consider(shown)
    assert ruling.answers and ruling.fault is Reason.FINGERPRINT_MISMATCH


def test_the_last_tier_is_never_skipped_and_a_skipped_one_does_not_run_again(
    cascade_under: Make, read: Observation
) -> None:
    cascade = cascade_under(STRICT)
    query = cascade.open(decision_id=an_id(cascade, explores=False))
    query.consider(read)
    with pytest.raises(RecordInvalid, match="always answers"):
        query.consider(read)
    with pytest.raises(RecordInvalid, match="ran already"):
        query.attempt(Observation(p_t=0.9), tier=0)


def test_a_query_of_which_only_a_skipped_tier_is_known_is_no_decision(
    cascade_under: Make, kept: Kept, read: Observation
) -> None:
    cascade = cascade_under(STRICT)
    with cascade.open(decision_id=an_id(cascade, explores=False)) as query:
        query.consider(read)
    assert kept.rows == []


def test_a_cascade_rules_before_the_answer_without_recording_anything(
    cascade_under: Make, kept: Kept, read: Observation
) -> None:
    cascade = cascade_under(STRICT)
    skipped = cascade.decide(read, early=True, decision_id=an_id(cascade, explores=False))
    explored = cascade.decide(read, early=True, decision_id=an_id(cascade, explores=True))
    assert (skipped.answers, explored.answers, kept.rows) == (False, True, [])


def test_a_skipped_attempt_travels_whole_and_one_that_contradicts_itself_is_refused() -> None:
    verdict = Verdict(action=Action.ESCALATE, reason=Reason.P_IK)
    skipped = Attempt(tier=0, role=Role.SKIPPED, model="small", signals=Signals(p_ik=0.2), verdict=verdict)
    assert codec.decode(Attempt, codec.encode(skipped)) == skipped
    for changes in ({"verdict": None}, {"answer": "Lima"}, {"verdict": Verdict(action=Action.NOT_YET, reason=None)}):
        fields: dict[str, Any] = {"verdict": verdict} | changes
        with pytest.raises(RecordInvalid):
            Attempt(tier=0, role=Role.SKIPPED, model="small", **fields)


@pytest.mark.parametrize(
    ("policy", "states", "known"),
    [
        (Policy.of(PolicyKind.P_IK, ({"p_ik": 0.0},)), True, True),
        (Policy.of(PolicyKind.P_IK, ({"p_ik": 1.0},)), True, False),
        (Policy.of(PolicyKind.P_IK, ({"p_ik": 0.0},)), False, False),
        (OPEN, True, False),  # P(T) is still to come
        (
            Policy.of(PolicyKind.GATES, ({"p_ik": 0.0, "p_t": 0.9},), Policy.of(PolicyKind.P_IK, ({"p_ik": 0.0},))),
            True,
            False,
        ),
        (Policy.of(PolicyKind.P_T, ({"p_t": 0.0},)), True, False),
    ],
    ids=["p_ik passes", "p_ik fails", "no state", "p_t decides too", "the fallback would keep it", "p_t decides"],
)
def test_that_an_answer_is_kept_whatever_it_says_is_known_where_the_prompt_alone_decides(
    cascade_under: Make, kept: Kept, read: Observation, policy: Policy, states: bool, known: bool
) -> None:
    cascade = cascade_under(policy)
    with cascade.open(decision_id=an_id(cascade, explores=False)) as query:
        shown = read if states else Observation(tokens_in=20)
        foreseen = query.kept(shown, tier=0)
        assert (foreseen is not None) is known
        query.consider(shown)
        if foreseen is not None:
            ruling = query.attempt(Observation(answer="Lima"))
            assert (ruling.verdict, ruling.signals) == (foreseen.verdict, foreseen.signals)
    assert len(kept.rows) == known

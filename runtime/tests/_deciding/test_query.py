"""A query gathers its attempts into one decision: roles, propensities, privacy, vectors."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest

from factories import Kept
from knowgate._bundles.bundle import Bundle
from knowgate._deciding.exploration import coin_falls
from knowgate._deciding.privacy import Purpose, SecretKey
from knowgate._deciding.query import Query
from knowgate._models.features import Float16Array
from knowgate._records.ids import decided_at, new_id
from knowgate._records.observation import Observation
from knowgate._records.records import Decision, Reason, Role
from knowgate._serving.cascade import Cascade
from knowgate.errors import RecordInvalid, SpoolRefused
from knowgate.spec import Privacy

Make = Callable[..., Any]


class Full:
    """A decision log that takes nothing."""

    def append(self, decision: Decision, vectors: Sequence[Float16Array] = ()) -> None:
        raise SpoolRefused("full")


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def make_cascade(pair: Make, key: bytes, now: datetime, kept: Kept) -> Callable[..., Cascade]:
    def made(*, in_force: Any = None, **options: Any) -> Cascade:
        fields: dict[str, Any] = {"hash_key": key, "spool": kept, "clock": lambda: now}
        return Cascade("questions", in_force or pair(), **fields | options)

    return made


@pytest.fixture
def good(hidden: Make, fingerprint: Make) -> dict[str, Any]:
    return {"p_t": 0.95, "hidden": hidden(), "fingerprint": fingerprint(), "tokens_in": 20}


def coin(cascade: Cascade, decision_id: UUID) -> bool:
    """Whether this id is explored whatever its answer shows."""
    assert cascade.pair is not None
    return coin_falls(cascade.setting.key, decision_id, cascade.pair.assignment.exploration_rate)


def id_that_explores(cascade: Cascade, explores: bool) -> UUID:
    return next(id for id in iter(new_id, None) if coin(cascade, id) is explores)


def test_a_retained_answer_is_a_decision_of_one_attempt(
    make_cascade: Callable[..., Cascade], kept: Kept, good: dict[str, Any], now: datetime
) -> None:
    cascade = make_cascade()
    with cascade.open(
        external_id="q-1", prompt="who?", slice="law", decision_id=id_that_explores(cascade, False)
    ) as query:
        ruling = query.attempt(Observation(**good, answer="me", tokens_out=3, latency_ms=12.5))
    ((decision, _),) = kept.rows
    assert ruling.retained and not query.explore
    assert decision is query.decision
    assert (decision.external_id, decision.slice, decision.occurred_at) == ("q-1", "law", now)
    assert (decision.generation, decision.bundle, decision.exploration_rate) == (1, ruling.bundle, 0.25)
    assert decision.served.run_propensity == 1.0
    assert (decision.served.model, decision.served.tokens_out, decision.served.latency_ms) == ("model-0", 3, 12.5)
    assert decision.served.verdict == ruling.verdict


def test_an_escalated_answer_is_superseded_by_the_last_tiers(
    make_cascade: Callable[..., Cascade], kept: Kept, good: dict[str, Any]
) -> None:
    with make_cascade().open() as query:
        assert not query.attempt(Observation(**good | {"p_t": 0.2}, answer="perhaps")).retained
        assert query.attempt(Observation(p_t=0.6, answer="surely")).retained
    small, large = kept.rows[0][0].attempts
    assert (small.role, large.role) == (Role.SUPERSEDED, Role.SERVED)
    assert (small.tier, large.tier, large.model) == (0, 1, "largest")
    assert (small.verdict is not None and small.verdict.reason, large.verdict) == (Reason.P_T, None)
    assert (small.run_propensity, large.run_propensity) == (1.0, 1.0)


def test_an_explored_decision_carries_the_last_tiers_run_with_its_propensity(
    make_cascade: Callable[..., Cascade], kept: Kept, good: dict[str, Any]
) -> None:
    cascade = make_cascade()
    with cascade.open(decision_id=id_that_explores(cascade, True)) as query:
        assert query.attempt(Observation(**good)).explore
        assert query.explore
        assert not query.attempt(Observation(p_t=0.7)).explore
    small, large = kept.rows[0][0].attempts
    assert (small.role, large.role) == (Role.SERVED, Role.EXPLORATION)
    assert (large.tier, large.run_propensity, large.verdict) == (1, 0.25, None)


def test_with_three_tiers_exploration_runs_the_last_one_not_the_next(
    make_cascade: Callable[..., Cascade], tier_models: Make, bundle_document: Make, pair: Make, kept: Kept
) -> None:
    from knowgate._bundles.bundle import write_bundle
    from knowgate.policy import Policy, PolicyKind

    tiers = (tier_models(), None)
    policy = Policy.of(PolicyKind.P_T, ({"p_t": 0.9}, {"p_t": 0.8}))
    three = write_bundle(bundle_document(tiers, policy=policy), tiers)
    cascade = make_cascade(in_force=pair(three))
    with cascade.open(decision_id=id_that_explores(cascade, True)) as query:
        assert query.attempt(Observation(p_t=0.95)).explore
        query.attempt(Observation(p_t=0.5))
    with cascade.open(decision_id=id_that_explores(cascade, False)) as query:
        query.attempt(Observation(p_t=0.5))
        query.attempt(Observation(p_t=0.5))
        query.attempt(Observation(p_t=0.5))
    explored, escalated = (row[0].attempts for row in kept.rows)
    assert [(attempt.tier, attempt.role) for attempt in explored] == [(0, Role.SERVED), (2, Role.EXPLORATION)]
    assert [attempt.role for attempt in escalated] == [Role.SUPERSEDED, Role.SUPERSEDED, Role.SERVED]


def test_a_tier_nobody_called_for_is_a_mistake_and_raises(
    make_cascade: Callable[..., Cascade], good: dict[str, Any]
) -> None:
    cascade = make_cascade()
    query = cascade.open(decision_id=id_that_explores(cascade, False))
    query.attempt(Observation(**good))
    with pytest.raises(RecordInvalid, match="retained"):
        query.attempt(Observation(p_t=0.5), tier=1)
    with pytest.raises(RecordInvalid, match="ran already"):
        query.attempt(Observation(p_t=0.5), tier=0)
    with pytest.raises(RecordInvalid, match="tiers 0 to 1"):
        query.attempt(Observation(p_t=0.5), tier=2)
    query.close()
    with pytest.raises(RecordInvalid, match="closed"):
        query.attempt(Observation(p_t=0.5), tier=1)


def test_a_query_that_fails_before_an_answer_was_served_records_nothing_and_hides_nothing(
    make_cascade: Callable[..., Cascade], kept: Kept, good: dict[str, Any]
) -> None:
    with pytest.raises(TimeoutError), make_cascade().open() as query:
        query.attempt(Observation(**good | {"p_t": 0.1}))
        raise TimeoutError
    with pytest.raises(TimeoutError), make_cascade().open():
        raise TimeoutError
    assert kept.rows == []


def test_a_query_that_fails_after_an_answer_was_served_is_a_decision(
    make_cascade: Callable[..., Cascade], kept: Kept, good: dict[str, Any]
) -> None:
    cascade = make_cascade()
    with pytest.raises(TimeoutError), cascade.open(decision_id=id_that_explores(cascade, True)) as query:
        query.attempt(Observation(**good))
        raise TimeoutError  # the exploration did not come back
    assert [attempt.role for attempt in kept.rows[0][0].attempts] == [Role.SERVED]


def test_an_escalated_query_that_fails_after_the_last_tier_answered_is_a_decision(
    make_cascade: Callable[..., Cascade], kept: Kept, good: dict[str, Any]
) -> None:
    with pytest.raises(TimeoutError), make_cascade().open() as query:
        query.attempt(Observation(**good | {"p_t": 0.1}))
        query.attempt(Observation(p_t=0.99))
        raise TimeoutError  # the answer is out; what its caller did with it failed
    assert [attempt.role for attempt in kept.rows[0][0].attempts] == [Role.SUPERSEDED, Role.SERVED]


def test_attempts_of_no_known_model_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    cascade = Cascade("of no known models")
    for _ in range(3):
        with cascade.open() as query:
            query.attempt(Observation(p_t=0.9))
    (record,) = caplog.records
    assert "nobody says which models its tiers run" in record.getMessage()


def test_a_request_that_no_certificate_covers_is_the_last_tiers_alone_and_decides_nothing(
    make_cascade: Callable[..., Cascade], kept: Kept, good: dict[str, Any]
) -> None:
    cascade = make_cascade()
    with cascade.open(decision_id=id_that_explores(cascade, True), uncertified="tools") as query:
        with pytest.raises(RecordInvalid, match="ask the last tier, 1"):
            query.attempt(Observation(**good), tier=0)
        ruling = query.attempt(Observation(answer="Lima", p_t=0.1, tokens_in=9, tokens_out=1))
        assert ruling.retained and not query.explore
    [(decision, vectors)] = kept.rows
    [attempt] = decision.attempts
    assert (attempt.tier, attempt.role, attempt.verdict, attempt.note) == (1, Role.SERVED, None, "tools")
    assert attempt.fault is Reason.UNCERTIFIED_REQUEST and decision.uncertified and not vectors
    with cascade.open() as covered:
        covered.attempt(Observation(**good))
    assert not kept.rows[-1][0].uncertified


def test_a_query_without_an_attempt_leaves_nothing_behind(make_cascade: Callable[..., Cascade], kept: Kept) -> None:
    with make_cascade().open() as query:
        pass
    assert kept.rows == []
    with pytest.raises(RecordInvalid, match="no tier ran"):
        query.close()


def test_an_escalated_answer_that_was_served_after_all_keeps_its_verdict(
    make_cascade: Callable[..., Cascade], kept: Kept, good: dict[str, Any]
) -> None:
    with make_cascade().open() as query:
        query.attempt(Observation(**good | {"p_t": 0.1}))  # and then the large model was down
    served = kept.rows[0][0].served
    assert (served.tier, served.verdict is not None and served.verdict.reason) == (0, Reason.P_T)


def test_closing_again_gives_the_same_decision_and_logs_it_once(
    make_cascade: Callable[..., Cascade], kept: Kept, good: dict[str, Any]
) -> None:
    with make_cascade().open() as query:
        query.attempt(Observation(**good))
        first = query.close()
    assert query.close() is first
    assert len(kept.rows) == 1


def test_a_full_spool_does_not_take_the_answer_away(make_cascade: Callable[..., Cascade], good: dict[str, Any]) -> None:
    with make_cascade(spool=Full()).open() as query:
        assert query.attempt(Observation(**good)).retained
    assert query.decision is not None


def test_before_the_first_bundle_everything_escalates_and_is_logged_with_its_vectors(
    key: bytes, kept: Kept, now: datetime, good: dict[str, Any]
) -> None:
    cascade = Cascade("questions", hash_key=key, spool=kept, clock=lambda: now)
    with cascade.open(prompt="who?") as query:
        assert query.attempt(Observation(**good)).verdict.reason is Reason.NO_BUNDLE
        query.attempt(Observation(p_t=0.9, model="big-one"))
    decision, vectors = kept.rows[0]
    assert [attempt.role for attempt in decision.attempts] == [Role.SUPERSEDED, Role.SERVED]
    assert [attempt.model for attempt in decision.attempts] == ["unknown", "big-one"]
    assert (decision.served.verdict, decision.served.fault) == (None, None)
    assert (decision.generation, decision.bundle, decision.exploration_rate) == (None, None, 0.0)
    assert len(vectors) == 1


def test_the_models_an_owner_names_are_used_until_a_bundle_says_them(
    key: bytes, kept: Kept, now: datetime, good: dict[str, Any]
) -> None:
    cascade = Cascade("questions", hash_key=key, spool=kept, clock=lambda: now, models=("a", "b"))
    with cascade.open() as query:
        query.attempt(Observation(**good))
        query.attempt(Observation(p_t=0.9))
        assert query.last == 1
    assert [attempt.model for attempt in kept.rows[0][0].attempts] == ["a", "b"]


def test_a_state_belongs_to_the_tier_that_showed_it(make_cascade: Callable[..., Cascade], good: dict[str, Any]) -> None:
    with make_cascade().open() as query:
        assert not query.has_state(0)
        query.consider(Observation(tokens_in=3), tier=0)
        assert not query.has_state(0)
        query.consider(Observation(hidden=good["hidden"], fingerprint=good["fingerprint"]), tier=0)
        assert query.has_state(0) and not query.has_state(1)


def test_a_state_of_the_last_tier_that_is_not_finite_is_kept_no_more_than_of_any_other(
    make_cascade: Callable[..., Cascade], kept: Kept, good: dict[str, Any]
) -> None:
    spoilt = np.full_like(good["hidden"], np.nan)
    with make_cascade().open() as query:
        query.attempt(Observation(p_t=0.1, hidden=good["hidden"]))
        query.attempt(Observation(hidden=spoilt))
    ((decision, vectors),) = kept.rows
    assert [attempt.vector for attempt in decision.attempts] == [0, None] and len(vectors) == 1
    assert "hidden is 'not finite'" in str(decision.served.note)


def test_of_names_that_nobody_declared_request_parameters_alone_have_to_be_the_bundles(
    make_cascade: Callable[..., Cascade], bundle: Bundle
) -> None:
    called = replace(make_cascade().setting, models=("path?request=1", "path", "last", "more"), named=False)
    assert len(bundle.document.models) == 3
    assert [called.meets(bundle, tier) for tier in range(4)] == [False, True, True, True]
    assert not replace(called, named=True).meets(bundle, 1)


@pytest.mark.parametrize("privacy", list(Privacy))
def test_prompt_and_answer_are_kept_as_the_privacy_allows(
    make_cascade: Callable[..., Cascade], kept: Kept, key: bytes, good: dict[str, Any], privacy: Privacy
) -> None:
    with make_cascade(privacy=privacy).open(prompt="who?") as query:
        query.attempt(Observation(**good, answer="me"))
    decision, secret = kept.rows[0][0], SecretKey(key)
    stored = decision.prompt, decision.prompt_hash, decision.served.answer
    prompt_hash = secret.text_hash(Purpose.PROMPT, "who?")
    assert (
        stored
        == {
            Privacy.NEVER: (None, None, None),
            Privacy.HASH: (None, prompt_hash, secret.text_hash(Purpose.ANSWER, "me")),
            Privacy.FULL: ("who?", prompt_hash, "me"),
        }[privacy]
    )


def test_equal_answers_can_be_told_to_be_equal_without_being_read(
    make_cascade: Callable[..., Cascade], kept: Kept, good: dict[str, Any]
) -> None:
    with make_cascade().open() as query:
        query.attempt(Observation(**good | {"p_t": 0.1}, answer="B"))
        query.attempt(Observation(p_t=0.9, answer="B"))
    small, large = kept.rows[0][0].attempts
    assert small.answer == large.answer != "B"


def test_vectors_are_kept_for_a_keyed_sample_and_for_everything_explored(
    make_cascade: Callable[..., Cascade], kept: Kept, good: dict[str, Any]
) -> None:
    cascade = make_cascade(vector_rate=0.2)
    for _ in range(400):
        with cascade.open() as query:
            query.attempt(Observation(**good))
    explored = [bool(vectors) for decision, vectors in kept.rows if coin(cascade, decision.id)]
    others = [bool(vectors) for decision, vectors in kept.rows if not coin(cascade, decision.id)]
    assert explored and all(explored)
    assert 0.1 < np.mean(others) < 0.31
    for decision, vectors in kept.rows:
        assert decision.served.vector == (0 if vectors else None)


def test_the_kept_vector_is_the_float16_that_the_probe_saw(
    make_cascade: Callable[..., Cascade], kept: Kept, good: dict[str, Any]
) -> None:
    with make_cascade().open() as query:
        query.attempt(Observation(**good | {"hidden": good["hidden"].astype(np.float32) + 1e-6}))
    (vector,) = kept.rows[0][1]
    assert vector.dtype == np.float16
    assert np.array_equal(vector, good["hidden"])


def test_the_kept_vector_is_a_copy_because_engines_reuse_their_buffers(
    make_cascade: Callable[..., Cascade], kept: Kept, good: dict[str, Any]
) -> None:
    buffer = good["hidden"].copy()
    with make_cascade().open() as query:
        query.attempt(Observation(**good | {"hidden": buffer}))
        buffer[:] = 7
    assert np.array_equal(kept.rows[0][1][0], good["hidden"])


def test_a_redeployed_models_vector_is_kept_for_retraining_and_a_malformed_one_is_not(
    make_cascade: Callable[..., Cascade], kept: Kept, good: dict[str, Any], hidden: Make, fingerprint: Make
) -> None:
    redeployed = {"hidden": hidden(dimension=32), "fingerprint": fingerprint(model="newer")}
    for changes in (redeployed, {"hidden": hidden(dimension=32)}, {"hidden": np.full(24, np.nan)}):
        with make_cascade().open() as query:
            query.attempt(Observation(**good | changes))
    assert [len(vectors) for _, vectors in kept.rows] == [1, 0, 0]
    assert kept.rows[0][0].served.fault is Reason.FINGERPRINT_MISMATCH


def test_a_query_keeps_the_pair_it_began_with_when_another_is_swapped_in(
    make_cascade: Callable[..., Cascade], good: dict[str, Any], pair: Make, small_bundle: Make
) -> None:
    cascade = make_cascade()
    with cascade.open() as query:
        cascade.install(pair(small_bundle(p_t=0.99), generation=2))
        assert query.attempt(Observation(**good)).retained
        assert not cascade.decide(Observation(**good)).retained
    assert query.decision is not None and query.decision.generation == 1


def test_bad_measurements_are_left_out_and_noted_and_the_answer_is_served(
    make_cascade: Callable[..., Cascade], kept: Kept, good: dict[str, Any]
) -> None:
    with make_cascade().open() as query:
        spoilt: dict[str, Any] = {"tokens_out": -1, "latency_ms": float("nan"), "cost_usd": "free"}
        ruling = query.attempt(Observation(**good, **spoilt))
    served = kept.rows[0][0].served
    assert (served.tokens_out, served.latency_ms, served.cost_usd) == (None, None, None)
    assert ruling.note is not None and all(name in ruling.note for name in spoilt)


def test_what_is_no_text_and_no_fingerprint_is_left_out_and_noted_and_the_query_goes_on(
    make_cascade: Callable[..., Cascade], kept: Kept, good: dict[str, Any]
) -> None:
    with make_cascade().open() as query:
        spoilt: dict[str, Any] = {"answer": b"B", "fingerprint": "small", "model": 7}
        ruling = query.attempt(Observation(**good | {"p_t": 0.95} | spoilt, notes="slow"))  # type: ignore[arg-type]
        assert ruling.verdict.fallback and not ruling.retained
        query.attempt(Observation(answer="C"))
    small = kept.rows[0][0].attempts[0]
    assert (small.answer, small.fingerprint, small.model) == (None, None, "model-0")
    assert small.note is not None and all(f"{name} is " in small.note for name in spoilt)
    assert small.note.endswith("; slow") and "b'B'" not in small.note


def test_ids_are_of_the_decisions_time_and_other_uuids_are_refused(
    make_cascade: Callable[..., Cascade], now: datetime
) -> None:
    query: Query = make_cascade().open()
    assert decided_at(query.decision_id) == now
    with pytest.raises(RecordInvalid, match="UUIDv7"):
        make_cascade().open(decision_id=uuid4())

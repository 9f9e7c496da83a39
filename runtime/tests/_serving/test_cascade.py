"""A cascade rules on answers; whatever is wrong, it escalates and says why."""

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowgate._bundles.assignment import Assignment, Mode
from knowgate._bundles.bundle import Bundle
from knowgate._bundles.pair import Pair
from knowgate._bundles.tier_models import TierModels
from knowgate._deciding.ruling import Ruling
from knowgate._records.ids import new_id
from knowgate._records.observation import Observation
from knowgate._records.records import Fingerprint, Reason
from knowgate._serving.cascade import Cascade
from knowgate.errors import AssignmentRefused, BundleRefused, RecordInvalid
from knowgate.policy import Policy, PolicyKind, decide

Make = Callable[..., Any]


@pytest.fixture
def cascade(pair: Make, key: bytes, now: datetime) -> Cascade:
    return Cascade("questions", pair(), hash_key=key, clock=lambda: now)


@pytest.fixture
def ask(cascade: Cascade, hidden: Make, fingerprint: Make) -> Callable[..., Ruling]:
    """A question that is retained, unless `changes` spoil it."""

    def ruled(**changes: Any) -> Ruling:
        good = {"p_t": 0.95, "hidden": hidden(), "fingerprint": fingerprint(), "tokens_in": 20}
        asked = {name: changes.pop(name) for name in ("tier", "decision_id", "slice", "now") if name in changes}
        return cascade.decide(Observation(**good | changes), **asked)

    return ruled


def test_a_good_answer_is_retained_with_every_gate_looked_at(ask: Callable[..., Ruling], cascade: Cascade) -> None:
    ruling = ask()
    assert ruling.retained
    assert [outcome.gate for outcome in ruling.verdict.gates] == [Reason.P_IK, Reason.P_T, Reason.OOD]
    assert cascade.pair is not None and cascade.pair.champion is not None
    assert (ruling.bundle, ruling.generation, ruling.fault, ruling.note) == (cascade.pair.champion.id, 1, None, None)


def test_a_low_p_t_escalates_for_that_reason(ask: Callable[..., Ruling]) -> None:
    assert ask(p_t=0.5).verdict.reason is Reason.P_T


def test_without_anything_in_force_everything_escalates() -> None:
    ruling = Cascade("questions").decide(Observation(p_t=1.0))
    assert (ruling.retained, ruling.verdict.reason, ruling.fault) == (False, Reason.NO_BUNDLE, Reason.NO_BUNDLE)


def test_an_assignment_without_a_champion_escalates_everything(assignment: Make, now: datetime) -> None:
    cascade = Cascade("questions", Pair(assignment=assignment(None)), clock=lambda: now)
    assert cascade.decide(Observation(p_t=1.0)).verdict.reason is Reason.NO_BUNDLE


def test_an_assignment_is_in_force_up_to_its_last_moment_and_not_after(
    cascade: Cascade, ask: Callable[..., Ruling], now: datetime
) -> None:
    last_moment = now + timedelta(days=1)
    assert ask(now=last_moment).retained
    ruling = ask(now=last_moment + timedelta(microseconds=1))
    assert (ruling.retained, ruling.fault) == (False, Reason.EXPIRED)
    assert ruling.signals.p_ik is not None  # still seen and logged


def test_the_mode_escalate_all_keeps_nothing_whatever_the_bundle_says(
    cascade: Cascade, ask: Callable[..., Ruling], pair: Make
) -> None:
    cascade.install(pair(mode=Mode.ESCALATE_ALL))
    assert ask().verdict.reason is Reason.ESCALATE_ALL


def test_a_hidden_state_of_another_model_is_not_looked_at_and_the_fallback_decides(
    ask: Callable[..., Ruling], fingerprint: Make
) -> None:
    ruling = ask(p_t=0.98, fingerprint=fingerprint(revision="newer"))
    assert ruling.fault is Reason.FINGERPRINT_MISMATCH
    assert ruling.retained and ruling.verdict.fallback
    assert (ruling.signals.p_ik, ruling.signals.ood) == (None, None)
    assert ruling.note is not None and "fingerprint.revision is 'newer', the probe's 'abc'" in ruling.note
    assert not ask(p_t=0.96, fingerprint=fingerprint(revision="newer")).retained  # under the fallback's 0.97


def test_a_hidden_state_without_a_fingerprint_meets_no_probe(ask: Callable[..., Ruling]) -> None:
    assert ask(fingerprint=None).fault is Reason.FINGERPRINT_MISMATCH


def test_without_a_fallback_a_mismatch_is_the_reason(
    key: bytes, now: datetime, pair: Make, small_bundle: Make, hidden: Make, fingerprint: Make
) -> None:
    policy = Policy.of(PolicyKind.GATES, ({"p_ik": 0.0, "p_t": 0.9},))
    cascade = Cascade("questions", pair(small_bundle(policy=policy)), clock=lambda: now)
    ruling = cascade.decide(Observation(p_t=1.0, hidden=hidden(), fingerprint=fingerprint(layer=3), tokens_in=5))
    assert ruling.verdict.reason is Reason.FINGERPRINT_MISMATCH
    assert cascade.decide(Observation(p_t=1.0, fingerprint=fingerprint())).verdict.reason is Reason.MISSING_SIGNAL


BAD_HIDDEN = [np.zeros(7), np.zeros((2, 24)), np.full(24, np.nan), np.full(24, np.inf), "vector", np.arange(24)]


@pytest.mark.parametrize("bad", BAD_HIDDEN)
def test_a_spoilt_hidden_state_is_a_missing_signal_and_the_note_says_why(ask: Callable[..., Ruling], bad: Any) -> None:
    ruling = ask(hidden=bad)
    assert not ruling.retained
    assert ruling.signals.p_ik is None
    assert ruling.note is not None and "hidden" in ruling.note
    assert ask(hidden=bad, p_t=0.98).verdict.fallback


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1.7, -3, "0.9x", None])
def test_a_spoilt_p_t_escalates_as_a_missing_signal(ask: Callable[..., Ruling], bad: Any) -> None:
    ruling = ask(p_t=bad)
    assert (ruling.retained, ruling.verdict.reason) == (False, Reason.MISSING_SIGNAL)


@given(
    p_t=st.one_of(st.none(), st.floats(), st.text(max_size=3)),
    hidden=st.one_of(st.none(), st.lists(st.floats(width=32), min_size=24, max_size=24), st.binary(max_size=3)),
    tokens_in=st.one_of(st.none(), st.integers(), st.floats()),
    entropy=st.one_of(st.none(), st.floats()),
)
def test_deciding_never_raises_and_keeps_nothing_without_the_evidence_for_it(
    p_t: Any, hidden: Any, tokens_in: Any, entropy: Any
) -> None:
    cascade, fingerprint = _module_cascade()
    ruling = cascade.decide(
        Observation(p_t=p_t, hidden=hidden, fingerprint=fingerprint, tokens_in=tokens_in, entropy=entropy)
    )
    if ruling.retained:
        assert ruling.signals.p_t is not None and ruling.signals.p_t >= (0.97 if ruling.verdict.fallback else 0.9)


@pytest.mark.parametrize("tier", [-1, 1, 5])
def test_a_tier_that_is_not_decided_at_is_a_mistake_and_raises(ask: Callable[..., Ruling], tier: int) -> None:
    with pytest.raises(RecordInvalid, match="decides at tiers 0 to 0"):
        ask(tier=tier)


def test_a_naive_time_is_refused_with_an_id_and_without(ask: Callable[..., Ruling]) -> None:
    for named in ({}, {"decision_id": new_id()}):
        with pytest.raises(RecordInvalid, match="now is '2026-03-02T00:00:00': the time is naive"):
            ask(now=datetime(2026, 3, 2), **named)  # noqa: DTZ001


def test_the_verdict_comes_again_from_the_stored_signals_and_from_the_stored_vector(
    ask: Callable[..., Ruling], cascade: Cascade, hidden: Make, tier_models: Callable[..., TierModels]
) -> None:
    full_precision = hidden().astype(np.float64) + 1e-5
    ruling = ask(hidden=full_precision, p_t=0.93)
    assert cascade.pair is not None and cascade.pair.champion is not None
    policy = cascade.pair.champion.document.policy
    assert decide(policy, ruling.signals, fault=ruling.fault) == ruling.verdict
    stored = full_precision.astype(np.float16)
    assert ask(hidden=stored, p_t=0.93).signals == ruling.signals


def test_exploration_is_a_coin_of_the_id_at_the_rate_in_force(ask: Callable[..., Ruling]) -> None:
    ids = [new_id() for _ in range(2000)]
    explored = [id for id in ids if ask(decision_id=id).explore]
    assert 410 < len(explored) < 590  # 0.25, four standard errors
    assert all(ask(decision_id=id).explore for id in explored[:20])
    assert not any(ask(decision_id=id, p_t=0.1).explore for id in explored[:20])  # escalated: the last tier runs anyway


def test_at_rate_one_everything_is_explored_and_at_rate_zero_nothing(
    cascade: Cascade, ask: Callable[..., Ruling], pair: Make
) -> None:
    ids = [new_id() for _ in range(200)]
    cascade.install(pair(exploration_rate=1.0))
    assert all(ask(decision_id=id).explore for id in ids)
    cascade.install(pair(exploration_rate=0.0))
    assert not any(ask(decision_id=id).explore for id in ids)


def test_the_challenger_decides_its_share_of_the_ids(
    cascade: Cascade, ask: Callable[..., Ruling], pair: Make, small_bundle: Make
) -> None:
    champion, challenger = small_bundle(), small_bundle(p_t=0.99)
    cascade.install(pair(champion, challenger, share=0.3))
    ids = [new_id() for _ in range(1000)]
    rulings = [ask(decision_id=id) for id in ids]
    challenged = [ruling for ruling in rulings if ruling.bundle == challenger.id]
    assert 240 < len(challenged) < 360
    assert not any(ruling.retained for ruling in challenged)  # the challenger's threshold is 0.99
    assert all(ruling.retained for ruling in rulings if ruling.bundle == champion.id)
    assert [ask(decision_id=id).bundle for id in ids] == [ruling.bundle for ruling in rulings]


def test_a_pair_of_another_cascade_is_not_installed(cascade: Cascade, assignment: Make) -> None:
    with pytest.raises(RecordInvalid, match="this is cascade 'questions'"):
        cascade.install(Pair(assignment=assignment(None, cascade="other")))


def test_a_pair_holds_the_bundles_its_assignment_names(assignment: Make, small_bundle: Make) -> None:
    bundle: Bundle = small_bundle()
    with pytest.raises(BundleRefused, match="champion"):
        Pair(assignment=assignment(small_bundle(p_t=0.5)), champion=bundle)
    with pytest.raises(BundleRefused, match="of cascade 'other'"):
        other = small_bundle(cascade="other")
        Pair(assignment=assignment(other), champion=other)


def test_a_three_tier_bundle_decides_at_its_first_two_tiers(bundle: Bundle, assignment: Make, now: datetime) -> None:
    cascade = Cascade("questions", Pair(assignment=assignment(bundle), champion=bundle), clock=lambda: now)
    without_gates = cascade.decide(Observation(p_t=1.0), tier=1)  # such a tier keeps nothing
    assert without_gates.verdict.reason is Reason.ESCALATE_ALL
    with pytest.raises(RecordInvalid, match="tiers 0 to 1"):
        cascade.decide(Observation(p_t=1.0), tier=2)


def test_a_loaded_cascade_is_the_one_that_was_written(
    write_pair: Make,
    tmp_path: Path,
    small_bundle: Make,
    assignment: Make,
    now: datetime,
    hidden: Make,
    fingerprint: Make,
) -> None:
    bundle = small_bundle()
    write_pair(tmp_path, assignment(bundle), [bundle])
    cascade = Cascade.load(tmp_path, clock=lambda: now)
    assert cascade.name == "questions"
    assert cascade.decide(Observation(p_t=0.95, hidden=hidden(), fingerprint=fingerprint(), tokens_in=9)).retained


def test_loading_says_which_file_is_missing(
    write_pair: Make, tmp_path: Path, small_bundle: Make, assignment: Make
) -> None:
    with pytest.raises(AssignmentRefused, match=r"assignment\.json"):
        Cascade.load(tmp_path)
    bundle = small_bundle()
    write_pair(tmp_path, assignment(bundle), [])
    with pytest.raises(BundleRefused, match=bundle.id):
        Cascade.load(tmp_path)


def test_loading_with_a_public_key_takes_signed_files_only(
    write_pair: Make, tmp_path: Path, small_bundle: Make, assignment: Make
) -> None:
    pytest.importorskip("cryptography")
    from knowgate._bundles.signing import new_key_pair, sign_assignment

    keys, bundle = new_key_pair(), small_bundle()
    write_pair(tmp_path, assignment(bundle), [bundle], private_key=keys.private_key)
    assert Cascade.load(tmp_path, public_key=keys.public_key).name == "questions"
    with pytest.raises(AssignmentRefused, match="signature"):
        Cascade.load(tmp_path, public_key=new_key_pair().public_key)
    (tmp_path / f"{bundle.id}.sig").unlink()
    with pytest.raises(BundleRefused, match="not signed"):
        Cascade.load(tmp_path, public_key=keys.public_key)
    signed: Assignment = sign_assignment(keys.private_key, assignment(None))
    write_pair(tmp_path, replace(signed, exploration_rate=1.0), [])
    with pytest.raises(AssignmentRefused, match="signature"):
        Cascade.load(tmp_path, public_key=keys.public_key)


def test_a_hash_key_is_asked_for_where_prompts_are_to_be_hashed(tmp_path: Path) -> None:
    from knowgate._shipping.spool import Spool

    with Spool(tmp_path) as spool, pytest.raises(RecordInvalid, match="hash_key"):
        Cascade("questions", spool=spool)


_built: list[tuple[Cascade, Fingerprint]] = []


@pytest.fixture(autouse=True)
def _build(pair: Make, fingerprint: Make, now: datetime) -> None:
    """Hypothesis cannot take function fixtures: the cascade of the property test is built once."""
    if not _built:
        _built.append((Cascade("questions", pair(), clock=lambda: now), fingerprint()))


def _module_cascade() -> tuple[Cascade, Fingerprint]:
    return _built[0]


@pytest.mark.parametrize(
    "form",
    [
        lambda state: state,
        lambda state: state.astype(np.float32),
        lambda state: state.astype(np.float64),
        lambda state: state.astype(">f2"),
        lambda state: state.tolist(),
        lambda state: np.repeat(state, 3)[::3],
        lambda state: state[::-1].copy()[::-1],
        lambda state: np.tile(state[:, np.newaxis], (1, 4))[:, 2],
        lambda state: memoryview(state.astype(np.float32)),
        np.ma.array,
    ],
)
def test_a_state_decides_the_same_in_whatever_form_it_comes(
    ask: Callable[..., Ruling], hidden: Make, form: Callable[[Any], Any]
) -> None:
    expected = ask(hidden=hidden())
    ruling = ask(hidden=form(hidden()), decision_id=expected.decision_id)
    assert (ruling, ruling.note) == (expected, None)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("fault", [None, "fingerprint", "no fingerprint", "no bundle", "length"])
def test_a_state_that_is_not_finite_escalates_for_the_same_reason_in_every_type(
    ask: Callable[..., Ruling], cascade: Cascade, hidden: Make, fingerprint: Make, value: float, kind: type, fault: Any
) -> None:
    state = hidden().astype(kind)
    state[5] = value
    changes = {
        None: {},
        "fingerprint": {"fingerprint": fingerprint(layer=3)},
        "no fingerprint": {"fingerprint": None},
        "no bundle": {},
        "length": {"hidden": state[:-1]},
    }[fault]
    if fault == "no bundle":
        ruling = Cascade("questions").decide(Observation(p_t=0.95, hidden=state))
    else:
        ruling = ask(**{"hidden": state} | changes)
    reasons = {"fingerprint": Reason.FINGERPRINT_MISMATCH, "no bundle": Reason.NO_BUNDLE}
    # The fallback looks at p_t, which is too low for it.
    assert (ruling.retained, ruling.verdict.fallback) == (False, fault != "no bundle")
    assert ruling.fault is reasons.get(fault)
    assert (ruling.signals.p_ik, ruling.signals.ood) == (None, None)
    assert ruling.note is not None and "hidden is 'not finite'" in ruling.note
    assert "hidden.shape" not in ruling.note, "what is missing has no shape"


def test_threads_that_decide_while_pairs_are_swapped_see_one_pair_each_time(
    cascade: Cascade, ask: Callable[..., Ruling], pair: Make, small_bundle: Make
) -> None:
    strict = small_bundle(p_t=0.99)
    pairs = [pair(generation=2), pair(strict, generation=3)]
    rulings: list[Ruling] = []
    done = threading.Event()

    def decide_on() -> None:
        while not done.is_set():
            rulings.append(ask())

    threads = [threading.Thread(target=decide_on) for _ in range(4)]
    for thread in threads:
        thread.start()
    for at in range(400):
        cascade.install(pairs[at % 2])
    done.set()
    for thread in threads:
        thread.join()
    cascade.install(pairs[0])
    expected = ask()
    assert {(2, True), (3, False)} >= {
        (ruling.generation, ruling.retained) for ruling in rulings if ruling.generation > 1
    }
    for ruling in rulings:
        assert (ruling.bundle == strict.id) == (ruling.generation == 3)
        assert ruling.signals == expected.signals


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_a_rate_of_vectors_lies_in_0_to_1(
    write_pair: Make, tmp_path: Path, small_bundle: Make, assignment: Make, now: datetime, rate: float
) -> None:
    bundle = small_bundle()
    write_pair(tmp_path, assignment(bundle), [bundle])
    for taken in (0.0, 1.0):
        assert Cascade.load(tmp_path, clock=lambda: now, vector_rate=taken).name == "questions"
    with pytest.raises(RecordInvalid, match=rf"vector_rate is {rate}: lies in \[0, 1\]"):
        Cascade.load(tmp_path, clock=lambda: now, vector_rate=rate)


@pytest.mark.parametrize("interval_s", [0.0, -1.0, math.nan])
def test_seconds_between_polls_are_above_0(tmp_path: Path, now: datetime, interval_s: float) -> None:
    with pytest.raises(RecordInvalid, match=f"interval_s is {interval_s}: seconds between polls, above 0"):
        Cascade.watch(tmp_path, cascade="questions", clock=lambda: now, interval_s=interval_s)

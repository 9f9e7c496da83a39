"""A record that exists is a record that holds."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from factories import make_decision, make_label
from knowgate._records.records import Action, Attempt, LabelSource, Reason, Role, Signals, Verdict, Window
from knowgate.errors import RecordInvalid

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def served(tier: int = 0) -> Attempt:
    return Attempt(tier=tier, role=Role.SERVED, model="small")


@pytest.mark.parametrize("missing", [math.nan, math.inf, -math.inf, None])
def test_a_signal_that_is_not_finite_counts_as_missing(missing: float | None) -> None:
    assert Signals(p_t=missing).p_t is None


@pytest.mark.parametrize("name", ["p_t", "p_ik", "score", "ood"])
@pytest.mark.parametrize("value", [-0.01, 1.01])
def test_a_finite_signal_outside_the_unit_interval_is_refused(name: str, value: float) -> None:
    with pytest.raises(RecordInvalid, match=f"{name} is {value}"):
        Signals(**{name: value})


def test_a_decision_serves_exactly_one_attempt() -> None:
    explored = Attempt(tier=1, role=Role.EXPLORATION, model="large")
    assert make_decision(attempts=(served(), explored)).served.tier == 0
    for attempts in ((), (explored,), (served(0), served(1))):
        with pytest.raises(RecordInvalid, match="exactly one attempt is served"):
            make_decision(attempts=attempts)


def test_a_tier_runs_once_within_a_decision() -> None:
    with pytest.raises(RecordInvalid, match="at most once"):
        make_decision(attempts=(served(0), Attempt(tier=0, role=Role.EXPLORATION, model="small")))


def test_a_request_that_no_certificate_covers_has_one_attempt_without_a_verdict() -> None:
    outside = replace(served(1), fault=Reason.UNCERTIFIED_REQUEST)
    assert make_decision(attempts=(outside,)).uncertified and not make_decision().uncertified
    retained = Verdict(action=Action.RETAIN, reason=None)
    for attempts in ((served(0), replace(outside, role=Role.EXPLORATION)), (replace(outside, verdict=retained),)):
        with pytest.raises(RecordInvalid, match="the last tier alone"):
            make_decision(attempts=attempts)


def test_a_decision_has_a_uuid7_an_aware_time_and_a_cascade() -> None:
    with pytest.raises(RecordInvalid, match="UUIDv7"):
        make_decision(id=uuid4())
    with pytest.raises(RecordInvalid, match="naive"):
        make_decision(occurred_at=datetime(2026, 1, 2))  # noqa: DTZ001
    with pytest.raises(RecordInvalid, match="name the cascade"):
        make_decision(cascade="")


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_an_exploration_rate_lies_in_the_unit_interval(rate: float) -> None:
    assert make_decision(exploration_rate=0.0).exploration_rate == 0.0
    with pytest.raises(RecordInvalid, match="exploration_rate"):
        make_decision(exploration_rate=rate)


@pytest.mark.parametrize("propensity", [0.0, -0.5, 1.5, math.nan])
def test_a_propensity_is_above_zero_or_unknown(propensity: float) -> None:
    assert Attempt(tier=0, role=Role.SERVED, model="m", run_propensity=None).run_propensity is None
    with pytest.raises(RecordInvalid, match="leave it out when unknown"):
        Attempt(tier=0, role=Role.SERVED, model="m", run_propensity=propensity)
    with pytest.raises(RecordInvalid, match="leave it out when unknown"):
        make_label(label_propensity=propensity)


@pytest.mark.parametrize("name", ["tokens_in", "tokens_out", "latency_ms", "cost_usd", "entropy"])
def test_amounts_are_not_negative(name: str) -> None:
    with pytest.raises(RecordInvalid, match=name):
        Attempt(tier=0, role=Role.SERVED, model="m", **{name: -1})  # type: ignore[arg-type]


@pytest.mark.parametrize("correct", [-0.1, 1.1, math.nan])
def test_a_label_says_how_right_in_the_unit_interval(correct: float) -> None:
    assert make_label(correct=0.5).correct == 0.5
    with pytest.raises(RecordInvalid, match="correct"):
        make_label(correct=correct)


def test_a_label_names_its_decision_in_exactly_one_way() -> None:
    assert make_label(decision_id=None, external_id="q1").external_id == "q1"
    for ways in ({"decision_id": None}, {"decision_id": UUID(int=1), "external_id": "q1"}):
        with pytest.raises(RecordInvalid, match="either decision_id or external_id"):
            make_label(**ways)


def test_a_label_refuses_a_naive_time() -> None:
    with pytest.raises(RecordInvalid, match="naive"):
        make_label(labelled_at=datetime(2026, 1, 2))  # noqa: DTZ001


def test_label_sources_are_listed_by_precedence() -> None:
    assert list(LabelSource) == ["gold", "human", "judge", "feedback"]


def test_a_window_ends_after_its_start() -> None:
    assert Window(start=NOW, end=NOW + timedelta(hours=1)).length == timedelta(hours=1)
    for end in (NOW, NOW - timedelta(seconds=1)):
        with pytest.raises(RecordInvalid, match="ends after its start"):
            Window(start=NOW, end=end)


def test_only_a_retaining_verdict_is_retained() -> None:
    assert Verdict(action=Action.RETAIN, reason=None).retained
    assert not Verdict(action=Action.ESCALATE, reason=None).retained

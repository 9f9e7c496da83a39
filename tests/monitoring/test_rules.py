"""Each rule says raised, clear or unknown; unknown never resolves an alert."""

from datetime import UTC, datetime, timedelta

import pytest

from knowgate.assignment import Assignment, Mode
from monitoring.alarm_memory import AlarmMemory
from monitoring.drift import ColumnDrift, DriftRecord
from monitoring.estimates import Estimated, unidentified
from monitoring.names import Rule
from monitoring.rules import (
    Standing,
    judge_alarm,
    judge_drift,
    judge_models,
    judge_ood,
    judge_overdue,
    judge_runtimes,
)
from store.assignments import Acknowledgement

NOW = datetime(2026, 3, 10, tzinfo=UTC)


def drifted(*scores):
    columns = tuple(
        ColumnDrift(column=f"c{i}", score=s, threshold=0.1, drifted=s >= 0.1, reference_mean=0.0, current_mean=s)
        for i, s in enumerate(scores)
    )
    return DriftRecord(columns=columns, left_out=(), reference_rows=500, current_rows=500, document="{}")


def acknowledged(generation, *, accepted=True, at=NOW):
    return Acknowledgement(
        cascade="cities",
        runtime=f"host-{generation}",
        generation=generation,
        bundle=None,
        accepted=accepted,
        detail=None if accepted else "signature is wrong",
        at=at,
    )


def assigned(generation=5, issued_at=NOW - timedelta(hours=3)):
    return Assignment(
        cascade="cities",
        generation=generation,
        mode=Mode.ACTIVE,
        champion="b1",
        exploration_rate=0.1,
        issued_at=issued_at,
        valid_until=issued_at + timedelta(days=7),
    )


def test_an_alarm_is_raised_in_the_block_it_rang_in_and_then_left_open():
    rang = AlarmMemory(rule=Rule.SAVINGS, consumed_until=NOW, raised_at=NOW)
    later = AlarmMemory(rule=Rule.SAVINGS, consumed_until=NOW + timedelta(hours=1), raised_at=NOW)
    quiet = AlarmMemory(rule=Rule.SAVINGS, consumed_until=NOW)
    assert judge_alarm(rang, lambda: "because").cause == "because"
    assert judge_alarm(rang, lambda: "because").standing is Standing.RAISED
    assert judge_alarm(later, lambda: "never asked").standing is Standing.UNKNOWN
    assert judge_alarm(quiet, lambda: "never asked").standing is Standing.CLEAR


@pytest.mark.parametrize(
    ("share", "standing"),
    [
        (Estimated(n=500, value=0.30, low=0.26, high=0.34), Standing.RAISED),
        (Estimated(n=500, value=0.08, low=0.055, high=0.10), Standing.UNKNOWN),
        (Estimated(n=500, value=0.01, low=0.0, high=0.03), Standing.CLEAR),
        (Estimated(n=50, value=0.30, low=0.18, high=0.45), Standing.UNKNOWN),
    ],
)
def test_the_ood_gate_may_escalate_what_its_percentile_says_and_a_margin(share, standing):
    judged = judge_ood(share, unidentified("no labels"), threshold=0.99, tier="small", cause=lambda: "slice b rose")
    assert judged.standing is standing


def test_an_ood_alert_says_how_often_the_tier_was_as_good():
    share = Estimated(n=500, value=0.30, low=0.26, high=0.34)
    good = Estimated(n=40, value=0.9, low=0.8, high=1.0)
    judged = judge_ood(share, good, threshold=0.99, tier="small", cause=lambda: "slice b rose")
    assert judged.cause == (
        "slice b rose; the ood gate alone escalates 30.0% at tier small, expected 1.0%;"
        " on 90% of them the tier was as good as the last (40 labels)"
    )


def test_a_policy_without_an_ood_gate_is_not_judged_by_it():
    share = Estimated(n=500, value=0.3, low=0.26, high=0.34)
    judged = judge_ood(share, unidentified("-"), threshold=None, tier="small", cause=lambda: "")
    assert judged.standing is Standing.UNKNOWN


@pytest.mark.parametrize(
    ("scores", "standing"),
    [
        ((0.05, 0.02), Standing.CLEAR),
        ((0.15, 0.02), Standing.UNKNOWN),
        ((0.15, 0.12), Standing.RAISED),
        ((0.25, 0.02), Standing.RAISED),
    ],
)
def test_drift_is_two_columns_or_one_far_away(scores, standing):
    assert judge_drift(drifted(*scores), tier="small").standing is standing


def test_no_drift_report_is_unknown():
    assert judge_drift(None, tier="small").standing is Standing.UNKNOWN


@pytest.mark.parametrize(
    ("labelled", "expected", "decisions", "standing"),
    [
        (0, 40, 40, Standing.RAISED),
        (19, 40, 40, Standing.RAISED),
        (20, 40, 40, Standing.CLEAR),
        (8, 10, 40, Standing.CLEAR),
        (0, 10, 10, Standing.UNKNOWN),
    ],
)
def test_labels_are_overdue_where_half_of_those_expected_are_missing(labelled, expected, decisions, standing):
    assert judge_overdue(labelled, expected, decisions, timedelta(days=2)).standing is standing


def test_a_runtime_on_an_older_generation_is_named_after_an_hour():
    judged = judge_runtimes(assigned(), [acknowledged(5), acknowledged(3)], now=NOW)
    assert judged.standing is Standing.RAISED
    assert judged.cause == "host-3 serves generation 3, 5 is in force"


def test_a_fresh_generation_gives_runtimes_their_hour():
    young = assigned(issued_at=NOW - timedelta(minutes=5))
    assert judge_runtimes(young, [acknowledged(3)], now=NOW).standing is Standing.UNKNOWN


def test_a_runtime_that_refuses_is_named_at_once_with_its_reason():
    young = assigned(issued_at=NOW - timedelta(minutes=5))
    judged = judge_runtimes(young, [acknowledged(4, accepted=False)], now=NOW)
    assert judged.cause == "host-4 refused generation 5 (signature is wrong)"


def test_a_runtime_that_is_gone_is_forgotten():
    gone = acknowledged(1, at=NOW - timedelta(days=30))
    assert judge_runtimes(assigned(), [gone, acknowledged(5)], now=NOW).standing is Standing.CLEAR


def test_one_attempt_of_another_model_is_enough_and_both_models_are_named():
    assert judge_models(0, {}).standing is Standing.UNKNOWN
    assert judge_models(5, {}).standing is Standing.CLEAR
    raised = judge_models(5, {("small", "tinny", "tiny"): 2})
    assert raised.standing is Standing.RAISED
    assert "2 attempts at tier small ran 'tinny', 'tiny' is declared" in raised.cause

"""Each rule says raised, clear or unknown; unknown never resolves an alert."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from factories import make_assignment
from knowgate._records.records import Reason
from monitoring.alarms.alarm_memory import AlarmMemory
from monitoring.drift.drift import ColumnDrift, DriftRecord, MissingShift
from monitoring.drift.signal_tables import SignalSpread, signal_spreads
from monitoring.figures.estimates import Estimated, unidentified
from monitoring.names import Rule
from monitoring.rules.label_rules import assess_overdue
from monitoring.rules.rules import Standing, assess_alarm, worst
from monitoring.rules.service_rules import assess_models, assess_runtimes
from monitoring.rules.signal_rules import assess_constant, assess_drift, assess_ood
from monitoring.watching.daily_rules import assess_labels
from store.releases.assignments import RuntimeState

NOW = datetime(2026, 3, 10, tzinfo=UTC)


def drifted(*scores):
    columns = tuple(
        ColumnDrift(column=f"pca_{i}", score=s, threshold=0.1, drifted=s >= 0.1, reference_mean=0.0, current_mean=s)
        for i, s in enumerate(scores)
    )
    return DriftRecord(columns=columns, left_out=(), reference_rows=500, current_rows=500)


def acknowledged(generation, *, accepted=True, at=NOW):
    return RuntimeState(
        cascade="cities",
        runtime=f"host-{generation}",
        generation=generation,
        bundle=None,
        accepted=accepted,
        detail=None if accepted else "signature is wrong",
        at=at,
    )


def assigned(generation=5, issued_at=NOW - timedelta(hours=3)):
    return make_assignment(
        cascade="cities",
        generation=generation,
        champion="b1",
        exploration_rate=0.1,
        issued_at=issued_at,
        valid_until=issued_at + timedelta(days=7),
    )


def test_an_alarm_is_raised_in_the_block_it_rang_in_and_then_left_open():
    rang = AlarmMemory(rule=Rule.SAVINGS, consumed_until=NOW, raised_at=NOW)
    later = AlarmMemory(rule=Rule.SAVINGS, consumed_until=NOW + timedelta(hours=1), raised_at=NOW)
    quiet = AlarmMemory(rule=Rule.SAVINGS, consumed_until=NOW)
    assert assess_alarm(rang, lambda: "because").cause == "because"
    assert assess_alarm(rang, lambda: "because").standing is Standing.RAISED
    assert assess_alarm(later, lambda: "never asked").standing is Standing.UNKNOWN
    assert assess_alarm(quiet, lambda: "never asked").standing is Standing.CLEAR


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
    assessed = assess_ood(share, unidentified("no labels"), threshold=0.99, tier="small", cause=lambda: "slice b rose")
    assert assessed.standing is standing


def test_an_ood_alert_says_how_often_the_tier_was_as_good():
    share = Estimated(n=500, value=0.30, low=0.26, high=0.34)
    good = Estimated(n=40, value=0.9, low=0.8, high=1.0)
    assessed = assess_ood(share, good, threshold=0.99, tier="small", cause=lambda: "slice b rose")
    assert assessed.cause == (
        "slice b rose; at tier small 30 % escalate only because they are unlike what the probe has seen (ood),"
        " 1.0 % would by chance; in 90 % of them the tier was as good as the last (40 labelled)"
    )


def test_a_policy_without_an_ood_gate_is_not_judged_by_it():
    share = Estimated(n=500, value=0.3, low=0.26, high=0.34)
    assessed = assess_ood(share, unidentified("-"), threshold=None, tier="small", cause=lambda: "")
    assert assessed.standing is Standing.UNKNOWN


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
    assert assess_drift(drifted(*scores), tier="small").standing is standing


def test_a_column_that_went_missing_is_told_alone_and_first():
    gone = MissingShift(column="p_t", reference_share=0.01, current_share=1.0, threshold=0.05)
    assessed = assess_drift(replace(drifted(0.02, 0.15), missing=(gone,)), tier="small", champion="b1")
    assert assessed.standing is Standing.RAISED
    assert assessed.cause == (
        "at tier small the probability of its answer (P(T)) is missing in 100 % of answers, before in 1.0 %;"
        " the hidden states, direction 1 rose from 0.00 to 0.15 on average (0.1 of its usual spread)"
    )
    assert dict(assessed.details) == {
        "champion": "b1",
        "tier": "small",
        "reference_rows": 500,
        "columns": "small.missing.p_t, small.pca_1",
        "pca_1": 0.15,
        "missing.p_t": 1.0,
    }
    steady = replace(gone, current_share=0.02)
    assert assess_drift(replace(drifted(0.02), missing=(steady,)), tier="small").standing is Standing.CLEAR


def test_drift_that_was_raised_says_by_how_much_each_column_moved():
    assessed = assess_drift(drifted(0.15, 0.02, 0.32), tier="small")
    assert dict(assessed.details) == {
        "tier": "small",
        "reference_rows": 500,
        "columns": "small.pca_2, small.pca_0",
        "pca_0": 0.15,
        "pca_2": 0.32,
    }


def test_a_clear_word_speaks_of_what_was_looked_at_alone():
    about = {"columns": "small.pca_0, small.pca_1", "champion": "b1"}
    both, one = (assess_drift(drifted(*scores), tier="small", champion="b1") for scores in ((0.0, 0.0), (0.0,)))
    assert both.speaks_of(about) and not one.speaks_of(about)
    assert not assess_drift(drifted(0.0, 0.0), tier="middle", champion="b1").speaks_of(about)
    assert assess_drift(drifted(0.0), tier="small", champion="b2").speaks_of(about)  # of another training window
    assert worst([one, assess_drift(drifted(0.0, 0.0), tier="small", champion="b1")]).speaks_of(about)
    assert assess_models(1, {}).speaks_of(about)


def spread(signal, low, high, attempts=20):
    return SignalSpread(tier="small", signal=signal, attempts=attempts, low=low, high=high)


def test_a_signal_that_is_one_value_is_told_with_its_cure():
    assessed = assess_constant([spread("p_t", 1.0, 1.0), spread("entropy", 0.0, 0.0), spread("p_ik", 0.2, 0.9)])
    assert assessed.standing is Standing.RAISED
    assert "(P(T)) is 1 in all 20 answers of tier small; how undecided" in assessed.cause
    assert assessed.cause.count("--logprobs-mode raw_logprobs") == 1
    assert assessed.details["columns"] == "small.p_t, small.entropy"
    state = assess_constant([spread("p_ik", 0.5, 0.5)])
    assert "hidden states" in state.cause and "logprobs" not in state.cause


def test_an_ood_of_one_throughout_is_what_drift_is_about_and_no_damage():
    assert assess_constant([spread("ood", 1.0, 1.0)]).standing is Standing.CLEAR
    assert assess_constant([spread("ood", 0.4, 0.4)]).standing is Standing.RAISED


def test_signals_that_vary_resolve_alerts_about_themselves_alone():
    about = assess_constant([spread("p_t", 1.0, 1.0)]).details
    varied = assess_constant([spread("p_t", 0.999, 1.0)])
    assert varied.standing is Standing.CLEAR and varied.speaks_of(about)
    assert not assess_constant([spread("entropy", 0.1, 0.2)]).speaks_of(about)
    assert assess_constant([]).standing is Standing.UNKNOWN


def test_twenty_attempts_with_a_signal_are_enough_to_say_that_it_is_constant_and_nineteen_are_not():
    rows = pd.DataFrame(dict.fromkeys(("p_t", "p_ik", "score", "ood", "entropy"), [np.nan] * 25))
    rows.loc[:18, "p_t"] = 0.98
    assert signal_spreads(rows, "small") == ()
    rows.loc[19, "p_t"] = 0.98
    assert signal_spreads(rows, "small") == (spread("p_t", 0.98, 0.98),)
    rows.loc[20, "p_t"] = 0.97
    assert not signal_spreads(rows, "small")[0].constant


def test_no_drift_report_is_unknown():
    assert assess_drift(None, tier="small").standing is Standing.UNKNOWN


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
    assert assess_overdue(labelled, expected, decisions, timedelta(days=2)).standing is standing


@pytest.mark.parametrize(("decisions", "standing"), [(19, Standing.UNKNOWN), (20, Standing.RAISED)])
def test_few_decisions_owe_no_labels(decisions, standing):
    assert assess_overdue(0, decisions, decisions, timedelta(days=2)).standing is standing
    assert assess_overdue(0, 0.0, decisions, timedelta(days=2)).standing is Standing.UNKNOWN


def test_an_explored_decision_is_labelled_once_both_its_answers_are(cast, cohort):
    explored = [(1.0, 1.0)] * 4 + [(1.0, None)] * 8 + [(None, 1.0)] * 5 + [(None, None)] * 5
    asked = [cast.Asked(explored=True, small=small, large=large) for small, large in explored]
    others = [cast.Asked(small=1.0)] * 10 + [cast.Asked(reason=Reason.P_T, small=1.0, large=1.0)] * 10
    assessed = assess_labels(cohort(asked + others))
    assert assessed.details == {"labelled": 4, "expected": 22.0, "decisions": 22}
    assert assessed.cause.startswith("4 of 22 labels came for 22 explored queries older than the horizon of 48 hours")


def test_answers_that_are_the_same_owe_no_label(cast, cohort):
    """As `labels queue` draws: what was explored and differs for certain, what agrees seldom."""
    differs = [cast.Asked(explored=True, small=1.0, large=0.0, answers=("a", "b"))] * 21
    alike = [cast.Asked(explored=True, answers=("a", "a"))] * 60
    drawn = [cast.Asked(explored=True, small=1.0, large=1.0, answers=("a", "a"), label_propensity=0.0125)]
    assert assess_labels(cohort(differs + alike + drawn)).cause == "21 of 21 labels are there"
    owed = [cast.Asked(explored=True, answers=("a", "b"))] * 25
    assert assess_labels(cohort(differs + alike + owed)).details == {"labelled": 21, "expected": 46.0, "decisions": 46}


def test_of_several_chances_the_drawn_tell_how_many_are_expected(cast, cohort):
    """Of 20 and of 80 decisions a half and a tenth were drawn, so most have the larger chance."""
    likely = [cast.Asked(explored=True, small=1.0, large=0.0, label_propensity=0.5)] * 10
    seldom = [cast.Asked(explored=True, small=1.0, large=0.0, label_propensity=0.1)] * 8
    assert (
        assess_labels(cohort(likely + seldom + [cast.Asked(explored=True)] * 82)).cause == "18 of 18 labels are there"
    )


def test_where_nothing_is_retained_every_decision_owes_its_labels_and_a_coin_some_of_them(cast, cohort):
    def assessed(label_propensity):
        some = [cast.Asked(reason=Reason.P_T, small=1.0, large=1.0, label_propensity=label_propensity)] * 9
        return assess_labels(cohort(some + [cast.Asked(reason=Reason.P_T)] * 31))

    assert (assessed(1.0).standing, assessed(1.0).cause[:14]) == (Standing.RAISED, "9 of 40 labels")
    assert (assessed(0.25).standing, assessed(0.25).cause) == (Standing.CLEAR, "9 of 10 labels are there")
    assert assessed(None).standing is Standing.UNKNOWN


def test_a_runtime_on_an_older_generation_is_named_after_an_hour():
    assessed = assess_runtimes(assigned(), [acknowledged(5), acknowledged(3)], now=NOW)
    assert assessed.standing is Standing.RAISED
    assert assessed.cause == "host-3 serves generation 3, 5 is in force"


def test_a_fresh_generation_gives_runtimes_their_hour():
    young = assigned(issued_at=NOW - timedelta(minutes=5))
    assert assess_runtimes(young, [acknowledged(3)], now=NOW).standing is Standing.UNKNOWN


def test_a_runtime_that_refuses_is_named_at_once_with_its_reason():
    young = assigned(issued_at=NOW - timedelta(minutes=5))
    assessed = assess_runtimes(young, [acknowledged(4, accepted=False)], now=NOW)
    assert assessed.cause == "host-4 refused generation 5 (signature is wrong)"


def test_a_runtime_that_is_gone_is_forgotten():
    gone = acknowledged(1, at=NOW - timedelta(days=30))
    assert assess_runtimes(assigned(), [gone, acknowledged(5)], now=NOW).standing is Standing.CLEAR


def test_a_runtime_whose_clock_stands_is_not_gone_while_it_is_heard_of():
    behind = replace(acknowledged(3, at=NOW - timedelta(days=30)), heard_at=NOW - timedelta(minutes=1))
    assert assess_runtimes(assigned(), [behind], now=NOW).standing is Standing.RAISED


def test_one_attempt_of_another_model_is_enough_and_both_models_are_named():
    assert assess_models(0, {}).standing is Standing.UNKNOWN
    assert assess_models(5, {}).standing is Standing.CLEAR
    raised = assess_models(5, {("small", "tinny", "tiny"): 2})
    assert raised.standing is Standing.RAISED
    assert "2 of 5 answers are of 'tinny' at tier small, 'tiny' is declared" in raised.cause

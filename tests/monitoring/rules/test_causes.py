"""The sentence an alert carries names the slice, the gate, and numbers that the figures
bear out.
"""

import pytest

from knowgate._records.records import Reason
from monitoring.drift.drift import ColumnDrift, DriftRecord
from monitoring.rules.causes import cost_cohort, drift_cause, escalation_cause, risk_cause, savings_cause


@pytest.fixture
def before(cast, cohort):
    """100 queries of slice country_of: 80 retained, 20 escalated by p_t."""
    return cohort(
        [cast.Asked(slice="country_of") for _ in range(80)]
        + [cast.Asked(slice="country_of", reason=Reason.P_T) for _ in range(20)]
    )


@pytest.fixture
def after(cast, cohort):
    """41 of 100 queries are of a slice never seen, and the ood gate stops all of them."""
    return cohort(
        [cast.Asked(slice="country_of") for _ in range(47)]
        + [cast.Asked(slice="country_of", reason=Reason.P_T) for _ in range(12)]
        + [cast.Asked(slice="state_of", reason=Reason.OOD) for _ in range(41)]
    )


def test_the_slice_and_gate_that_grew_most_are_named_with_both_shares(before, after):
    assert escalation_cause(before, after) == (
        "queries of kind `state_of` grew from 0 % to 41 % of traffic, and 100 % of them escalate:"
        " they are unlike what the probe has seen (ood)"
    )


def test_without_a_before_the_largest_share_is_named(after):
    assert escalation_cause(None, after) == (
        "41 % of traffic are queries of kind `state_of` that escalate because they are unlike what the probe has seen"
        " (ood)"
    )


def test_where_no_gate_escalates_more_the_largest_share_is_named_with_that(before, cast, cohort):
    assert escalation_cause(before, before) == (
        "no gate escalates more than before; 20 % of traffic are queries of kind `country_of` that do because"
        " the probability of its answer is too low (P(T))"
    )
    assert escalation_cause(before, cohort([cast.Asked()] * 3)) == "nothing is escalated"


@pytest.mark.parametrize(
    ("escalated", "share"), [(1, "0.5 %"), (19, "9.5 %"), (20, "10 %"), (21, "10 %"), (50, "25 %"), (200, "100 %")]
)
def test_shares_below_a_tenth_are_told_with_a_place_more(cast, cohort, escalated, share):
    asked = [cast.Asked(reason=Reason.P_T)] * escalated + [cast.Asked()] * (200 - escalated)
    assert escalation_cause(None, cohort(asked)).startswith(f"{share} of traffic are queries that escalate")


@pytest.mark.parametrize(
    ("of_slice", "shown"),
    [
        (55, "grew from 50 % to 55 % of traffic, and 22 % of them escalate"),
        (54, "that escalate rose from 10 % to 12 % of traffic"),
    ],
)
def test_that_a_slice_grew_is_told_from_five_points_on(cast, cohort, of_slice, shown):
    def traffic(of_slice, escalated):
        others = [cast.Asked(slice="b")] * (100 - of_slice)
        return cohort(
            others
            + [cast.Asked(slice="a", reason=Reason.P_T)] * escalated
            + [cast.Asked(slice="a")] * (of_slice - escalated)
        )

    assert escalation_cause(traffic(50, 10), traffic(of_slice, 12)) == (
        f"queries of kind `a` {shown}: the probability of its answer is too low (P(T))"
    )


@pytest.mark.parametrize(("pairs", "accused"), [(4, False), (5, True)])
def test_a_slice_is_accused_from_five_labelled_pairs_on(cast, cohort, pairs, accused):
    fine = [cast.Asked(slice="a", explored=True, small=1.0, large=1.0) for _ in range(20)]
    harm = [cast.Asked(slice="b", explored=True, small=0.0, large=1.0) for _ in range(pairs)]
    assert ("of kind `b` are right 100 points less often" in risk_cause(cohort(fine + harm))) is accused


def test_one_gate_can_be_asked_for(before, after):
    assert escalation_cause(None, after, only=Reason.P_T).startswith("12 % of traffic are queries of kind `country_of`")
    nothing = "no query escalates because they are unlike what the probe has seen (ood)"
    assert escalation_cause(before, before, only=Reason.OOD) == nothing


def test_a_cohort_without_slices_is_told_as_a_whole(cast, cohort):
    now = cohort([cast.Asked()] * 4 + [cast.Asked(reason=Reason.EXPIRED)] * 6)
    then = cohort([cast.Asked()] * 10)
    assert (
        escalation_cause(then, now)
        == "queries that escalate rose from 0 % to 60 % of traffic: the assignment had expired"
    )


def test_a_loss_of_savings_is_accounted_for_by_slice_and_gate(before, after):
    cause = savings_cause(before, after, "usd")
    assert cause.startswith("queries of kind `state_of` grew from 0 % to 41 % of traffic")
    # 1 − (1 + 10·.20)/10 = 70 % before, 1 − (1 + 10·.53)/10 = 37 % after.
    assert "savings fell from 70 % to 37 % in USD, exploration paid (" in cause
    assert cause.endswith("(another mix of queries −32.7 points)"), "the gate stops the same share of each kind"


def test_longer_answers_are_told_as_tokens(cast, cohort):
    then = cohort([cast.Asked(tokens=10) for _ in range(20)] + [cast.Asked(reason=Reason.P_T)] * 5)
    decisions = [cast.Asked(tokens=10) for _ in range(20)] + [cast.Asked(tokens=30, reason=Reason.P_T)] * 5
    assert "a run of tier large takes 30 tokens, before 10" in savings_cause(then, cohort(decisions), "usd")


def test_the_account_is_of_the_same_savings_as_the_figure(before):
    made = cost_cohort(before, "gflops")
    assert sum(part.decisions for part in made.slices) == 100
    assert [price.per_token_in for price in made.prices] == pytest.approx([0.002, 0.02])


def test_a_risk_is_laid_to_the_slice_in_which_exploration_finds_harm(cast, cohort):
    fine = [cast.Asked(slice="a", explored=True, small=1.0, large=1.0) for _ in range(20)]
    harm = [cast.Asked(slice="b", explored=True, small=0.0, large=1.0) for _ in range(6)]
    well = [cast.Asked(slice="b", explored=True, small=1.0, large=1.0) for _ in range(4)]
    assert risk_cause(cohort(fine + harm + well)) == (
        "kept answers to queries of kind `b` are right 60 points less often than the last tier's, on 10 explored ones;"
        " over all traffic 20 points are lost (2.5 to 37.5), 2 allowed"
    )


def test_a_drift_names_its_columns_furthest_first():
    near = ColumnDrift(
        column="tokens_in", score=0.15, threshold=0.1, drifted=True, reference_mean=20.0, current_mean=22.0
    )
    far = ColumnDrift(column="p_ik", score=0.8, threshold=0.1, drifted=True, reference_mean=0.81, current_mean=0.44)
    record = DriftRecord(columns=(near, far), left_out=(), reference_rows=500, current_rows=500)
    assert drift_cause(record) == (
        "whether it knows (P(IK)) fell from 81 % to 44 % on average (0.8 of its usual spread);"
        " the length of prompts rose from 20 tokens to 22 tokens on average (0.1 of its usual spread)"
    )

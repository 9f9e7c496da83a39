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
        "escalations in slice state_of rose from 0 % to 41 % of traffic; gate ood (the slice grew from 0 % to 41 %)"
    )


def test_without_a_before_the_largest_share_is_named(after):
    assert escalation_cause(None, after) == "escalations in slice state_of are 41 % of traffic; gate ood"


def test_where_no_gate_escalates_more_the_largest_share_is_named_with_that(before, cast, cohort):
    assert escalation_cause(before, before) == (
        "no gate escalates more than before; escalations in slice country_of are 20 % of traffic, gate p_t"
    )
    assert escalation_cause(before, cohort([cast.Asked()] * 3)) == "nothing is escalated"


@pytest.mark.parametrize(
    ("escalated", "share"), [(1, "0.5 %"), (19, "9.5 %"), (20, "10 %"), (21, "10 %"), (50, "25 %"), (200, "100 %")]
)
def test_shares_below_a_tenth_are_told_with_a_place_more(cast, cohort, escalated, share):
    asked = [cast.Asked(reason=Reason.P_T)] * escalated + [cast.Asked()] * (200 - escalated)
    assert escalation_cause(None, cohort(asked)) == f"escalations are {share} of traffic; gate p_t"


@pytest.mark.parametrize(("of_slice", "shown"), [(55, " (the slice grew from 50 % to 55 %)"), (54, "")])
def test_that_a_slice_grew_is_told_from_five_points_on(cast, cohort, of_slice, shown):
    def traffic(of_slice, escalated):
        others = [cast.Asked(slice="b")] * (100 - of_slice)
        return cohort(
            others
            + [cast.Asked(slice="a", reason=Reason.P_T)] * escalated
            + [cast.Asked(slice="a")] * (of_slice - escalated)
        )

    assert escalation_cause(traffic(50, 10), traffic(of_slice, 12)) == (
        f"escalations in slice a rose from 10 % to 12 % of traffic; gate p_t{shown}"
    )


@pytest.mark.parametrize(("pairs", "accused"), [(4, False), (5, True)])
def test_a_slice_is_accused_from_five_labelled_pairs_on(cast, cohort, pairs, accused):
    fine = [cast.Asked(slice="a", explored=True, small=1.0, large=1.0) for _ in range(20)]
    harm = [cast.Asked(slice="b", explored=True, small=0.0, large=1.0) for _ in range(pairs)]
    assert ("in slice b lose 100 %" in risk_cause(cohort(fine + harm))) is accused


def test_one_gate_can_be_asked_for(before, after):
    assert escalation_cause(None, after, only=Reason.P_T).endswith("are 12 % of traffic; gate p_t")
    assert escalation_cause(before, before, only=Reason.OOD) == "gate ood escalates nothing"


def test_a_cohort_without_slices_is_told_as_a_whole(cast, cohort):
    now = cohort([cast.Asked()] * 4 + [cast.Asked(reason=Reason.EXPIRED)] * 6)
    then = cohort([cast.Asked()] * 10)
    assert escalation_cause(then, now) == "escalations rose from 0 % to 60 % of traffic; gate expired"


def test_a_loss_of_savings_is_accounted_for_by_slice_and_gate(before, after):
    cause = savings_cause(before, after, "usd")
    assert cause.startswith("escalations in slice state_of rose from 0 % to 41 % of traffic; gate ood")
    # 1 − (1 + 10·.20)/10 = 70 % before, 1 − (1 + 10·.53)/10 = 37 % after.
    assert "savings net of exploration went from 70 % to 37 % in usd" in cause


def test_longer_answers_are_told_as_tokens(cast, cohort):
    then = cohort([cast.Asked(tokens=10) for _ in range(20)] + [cast.Asked(reason=Reason.P_T)] * 5)
    decisions = [cast.Asked(tokens=10) for _ in range(20)] + [cast.Asked(tokens=30, reason=Reason.P_T)] * 5
    assert "tokens per run of tier large went from 10 to 30" in savings_cause(then, cohort(decisions), "usd")


def test_the_account_is_of_the_same_savings_as_the_figure(before):
    made = cost_cohort(before, "gflops")
    assert sum(part.decisions for part in made.slices) == 100
    assert [price.per_token_in for price in made.prices] == pytest.approx([0.002, 0.02])


def test_a_risk_is_laid_to_the_slice_in_which_exploration_finds_harm(cast, cohort):
    fine = [cast.Asked(slice="a", explored=True, small=1.0, large=1.0) for _ in range(20)]
    harm = [cast.Asked(slice="b", explored=True, small=0.0, large=1.0) for _ in range(6)]
    well = [cast.Asked(slice="b", explored=True, small=1.0, large=1.0) for _ in range(4)]
    assert risk_cause(cohort(fine + harm + well)) == (
        "retained answers in slice b lose 60 % of accuracy against the last tier, seen on 10 explored queries"
    )


def test_a_drift_names_its_columns_furthest_first():
    near = ColumnDrift(
        column="tokens_in", score=0.15, threshold=0.1, drifted=True, reference_mean=20.0, current_mean=22.0
    )
    far = ColumnDrift(column="p_ik", score=0.8, threshold=0.1, drifted=True, reference_mean=0.81, current_mean=0.44)
    record = DriftRecord(columns=(near, far), left_out=(), reference_rows=500, current_rows=500, document="{}")
    assert drift_cause(record) == (
        "p_ik moved by 0.80 reference standard deviations (mean 0.81 → 0.44);"
        " tokens_in moved by 0.15 reference standard deviations (mean 20 → 22)"
    )

"""Known answers: cohorts small enough to count by hand."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from knowgate._records.records import LabelSource, PTKind, Reason
from monitoring.errors import CohortInvalid
from monitoring.figures.estimates import share
from monitoring.figures.figures import SLICES_AT_MOST, figures_of
from monitoring.names import FigureName
from monitoring.rows.attempts import of_known_tiers
from monitoring.rows.pairing import pair_decisions


def named(cohort, *, tier=None, slice=None):
    rows = figures_of(cohort, computed_at=cohort.as_of)
    return {row.name: row for row in rows if row.tier == tier and row.slice == slice}


@pytest.fixture
def ten(cast, cohort):
    """Ten queries: six retained (four explored), four escalated (three by ood); all labelled."""
    retained = [
        cast.Asked(explored=True, small=1.0, large=1.0, slice="a", score=0.95),
        cast.Asked(explored=True, small=0.0, large=1.0, slice="a", score=0.95),
        cast.Asked(explored=True, small=1.0, large=1.0, slice="b", score=0.7),
        cast.Asked(explored=True, small=1.0, large=0.0, slice="b", score=0.7),
        cast.Asked(small=1.0, slice="a", score=0.7),
        cast.Asked(small=0.0, slice="b", score=0.5),
    ]
    gone = [
        cast.Asked(reason=Reason.OOD, small=1.0, large=1.0, slice="b", score=0.6, ood=0.99),
        cast.Asked(reason=Reason.OOD, small=0.0, large=1.0, slice="b", score=0.6, ood=0.99),
        cast.Asked(reason=Reason.OOD, small=1.0, large=1.0, slice="b", score=0.6, ood=0.99),
        cast.Asked(reason=Reason.P_IK, small=0.0, large=0.0, slice="a", score=0.1),
    ]
    return cohort(retained + gone)


def test_shares_count_decisions_and_split_by_reason(ten):
    figures = named(ten)
    assert figures["queries"].value == 10
    assert figures["retained_share"].value == 0.6
    assert figures["escalated_share"].value == 0.4
    assert figures["escalated_share.ood"].value == pytest.approx(0.3)
    assert figures["escalated_share.p_ik"].value == pytest.approx(0.1)
    assert figures["escalated_share.p_t"].value == 0.0
    assert figures["explored_share"].value == 0.4
    for name, hits in (
        ("escalated_share", 4),
        ("retained_share", 6),
        ("explored_share", 4),
        ("escalated_share.ood", 3),
    ):
        wilson = share(hits, 10)
        assert (figures[name].low, figures[name].high, figures[name].n) == (wilson.low, wilson.high, 10)


def test_a_tiers_shares_are_of_its_own_attempts(ten):
    small, large = named(ten, tier=0), named(ten, tier=1)
    assert (small["queries"].value, large["queries"].value) == (10, 8)
    assert (small["retained_share"].value, small["escalated_share"].value) == (0.6, 0.4)
    assert (small["escalated_share.ood"].value, small["escalated_share.p_ik"].value) == (0.3, 0.1)
    assert (small["missing_share.entropy"].value, small["missing_share.tokens_in"].value) == (1.0, 0.0)
    assert small["missing_share.score"].value == 0.0 and "retained_share" not in large
    # Explored runs of the last tier are the cascade's business: 3 of the 4 others are right.
    assert (large["accuracy"].value, large["accuracy"].n) == (pytest.approx(0.75), 4)


@pytest.mark.parametrize(("score", "sure"), [(0.9, True), (0.89, False)])
def test_an_answer_claims_to_be_sure_from_nine_tenths_on(cast, cohort, score, sure):
    asked = [cast.Asked(small=0.0, score=score), cast.Asked(small=1.0, score=0.5)]
    asked += [cast.Asked(reason=Reason.SCORE, small=0.0, score=0.95)]  # not retained
    figure = named(cohort(asked), tier=0)["overconfidence"]
    assert figure.value == (1.0 if sure else None)
    if not sure:
        assert figure.not_identified == "nothing is retained with a score of at least 0.9"


def test_half_right_counts_as_right_in_a_ranking(cast, cohort):
    asked = [cast.Asked(small=small, score=score) for small, score in ((0.5, 0.9), (1.0, 0.8), (0.49, 0.2), (0.0, 0.1))]
    assert named(cohort(asked), tier=0)["auroc_score"].value == 1.0


@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_the_ood_gate_stopped_is_compared_where_both_answers_are_labelled(cast, cohort, place):
    pairs = [(0.0, 1.0)] * 3
    pairs[place] = (1.0, None)
    stopped = [cast.Asked(reason=Reason.OOD, small=small, large=large) for small, large in pairs]
    figures = named(cohort([cast.Asked(), *stopped]), tier=0)
    assert (figures["ood_only_share"].value, figures["ood_gain"].value, figures["ood_gain"].n) == (0.75, 1.0, 2)
    assert figures["ood_as_good"].value == 0.0
    assert figures["ood_gain"].high == 1.0 and figures["ood_as_good"].low == 0.0


def test_why_the_ood_gate_cannot_be_judged_is_told(cast, cohort):
    def why(*asked):
        return named(cohort(list(asked)), tier=0)["ood_gain"].not_identified

    assert why(cast.Asked()) == "the ood gate alone escalated nothing"
    lacking = "no labels of both tiers on what the ood gate alone escalated"
    assert why(cast.Asked(reason=Reason.OOD, small=1.0), cast.Asked(reason=Reason.P_T, small=1.0, large=1.0)) == lacking
    some = [cast.Asked(reason=Reason.OOD, small=1.0, large=1.0, label_propensity=chance) for chance in (1.0, None, 0.5)]
    assert why(*some) == "1 of 3 labels have an unknown propensity; send it with them"


def test_accuracies_are_those_of_the_strata_put_together(ten):
    figures = named(ten)
    assert figures["accuracy_cascade"].value == pytest.approx((4 + 3) / 10)
    assert figures["accuracy_retained"].value == pytest.approx(4 / 6)
    # Last tier: 3 of 4 explored ones stand for 6 retained; 3 of 4 escalated.
    assert figures["accuracy_last"].value == pytest.approx(0.6 * 3 / 4 + 0.4 * 3 / 4)
    assert figures["accuracy_last"].n == 8


def test_the_drop_is_the_retained_share_times_what_exploration_saw(cast, cohort):
    asked = [cast.Asked(explored=True, small=0.0, large=1.0)] + [
        cast.Asked(explored=True, small=1.0, large=1.0) for _ in range(3)
    ]
    asked += [cast.Asked(reason=Reason.P_T, large=1.0) for _ in range(4)]
    drop = named(cohort(asked))["drop"]
    assert drop.value == pytest.approx(0.5 * 1 / 4)
    assert drop.n == 4
    assert drop.low < 0.125 < drop.high


def test_explorations_are_weighted_by_their_own_coin(cast, cohort):
    often = [cast.Asked(explored=True, small=1.0, large=1.0, run_propensity=1.0) for _ in range(4)]
    rare = cast.Asked(explored=True, small=0.0, large=1.0, run_propensity=0.25)
    assert named(cohort([*often, rare]))["drop"].value == pytest.approx(4 / 8)


def test_equal_answers_count_as_no_drop_without_any_label(cast, cohort):
    same = [cast.Asked(explored=True, answers=("Paris", "Paris")) for _ in range(3)]
    other = cast.Asked(explored=True, answers=("Oslo", "Rome"), small=0.0, large=1.0)
    assert named(cohort([*same, other]))["drop"].value == pytest.approx(0.25)


def test_a_cohort_that_retains_nothing_has_no_drop_and_needs_no_label(cast, cohort):
    figures = named(cohort([cast.Asked(reason=Reason.NO_BUNDLE) for _ in range(5)]))
    assert (figures["drop"].value, figures["drop"].n) == (0.0, 5)
    assert figures["escalated_share.no_bundle"].value == 1.0
    assert figures["cbpe"].value is None


def test_an_unknown_label_propensity_is_not_identified_and_prints_nothing(cast, cohort):
    figures = named(cohort([cast.Asked(explored=True, small=1.0, large=1.0, label_propensity=None)]))
    for name in ("accuracy_cascade", "accuracy_last", "drop"):
        assert figures[name].value is None
        assert "unknown propensity" in figures[name].not_identified


def test_a_sample_of_gold_labels_beside_a_graders_is_not_averaged(cast, cohort):
    sampled = [cast.Asked(small=1.0, label_propensity=0.5), cast.Asked(small=0.0, label_propensity=0.5)]
    judged = [cast.Asked(small=1.0, source=LabelSource.JUDGE)]
    assert named(cohort(sampled))["accuracy_cascade"].value == 0.5
    assert named(cohort(judged))["accuracy_cascade"].value == 1.0
    mixed = named(cohort(sampled + judged))
    for name in ("accuracy_cascade", "accuracy_retained"):
        assert mixed[name].value is None
        assert "labels estimate" in mixed[name].not_identified


def test_an_unknown_exploration_coin_is_not_identified(cast, cohort):
    figures = named(cohort([cast.Asked(explored=True, small=1.0, large=1.0, run_propensity=None)]))
    assert figures["drop"].value is None
    assert "run propensity" in figures["savings_usd"].not_identified
    assert figures["accuracy_cascade"].value == 1.0


def test_without_exploration_there_is_no_drop(cast, cohort):
    figures = named(cohort([cast.Asked(small=1.0)]))
    assert figures["drop"].not_identified == "no explored and labelled pairs on the 1 retained decisions"
    assert figures["accuracy_last"].value is None


def test_labels_that_come_late_on_one_side_do_not_pull_the_accuracy(cast, cohort):
    retained = [cast.Asked(small=1.0)] * 2 + [cast.Asked()] * 8  # 2 of 10 labelled yet, all right
    gone = [cast.Asked(reason=Reason.P_T, large=0.0) for _ in range(10)]
    assert named(cohort(retained + gone))["accuracy_cascade"].value == pytest.approx(0.5)


def test_savings_are_a_ratio_of_sums_against_the_last_tier(cast, cohort):
    # Per query of 10 tokens: small 1e-5, large 1e-4 USD. Two retained (one explored), two
    # escalated.
    asked = [cast.Asked(explored=True), cast.Asked(), *[cast.Asked(reason=Reason.P_T)] * 2]
    figures = named(cohort(asked))
    assert figures["savings_usd"].value == pytest.approx(1 - (4 * 1 + 2 * 10) / 40)
    assert figures["savings_gflops"].value == pytest.approx(1 - (4 * 1 + 2 * 10) / 40)
    assert figures["savings_tokens"].value == pytest.approx(1 - 60 / 40)
    assert figures["exploration_cost_usd"].value == pytest.approx(1e-4)
    assert figures["savings_usd"].low <= 0.4 <= figures["savings_usd"].high
    saved = figures["saved_usd"]
    assert saved.value == pytest.approx(16e-5)  # 4e-4 for the last tier alone, 24e-5 was paid
    assert saved.low < saved.value < saved.high and saved.not_identified is None


def test_one_absurd_run_does_not_decide_a_figure_and_is_counted(cast, cohort):
    usual = [cast.Asked(explored=True, run_propensity=1.0) for _ in range(30)] + [cast.Asked(reason=Reason.P_IK)] * 10
    usual = [replace(one, at=cast.DAY + timedelta(minutes=row)) for row, one in enumerate(usual)]
    figures, absurd = named(cohort(usual)), named(cohort([*usual[:-1], replace(usual[-1], tokens=2**53)]))
    assert figures["cut_runs"].value == 0 and absurd["cut_runs"].value == 2  # both tiers ran on it
    for unit in ("usd", "gflops", "tokens"):
        before, after = figures[f"savings_{unit}"].value, absurd[f"savings_{unit}"].value
        assert after == pytest.approx(before, abs=0.35)
        assert absurd[f"exploration_cost_{unit}"].value == figures[f"exploration_cost_{unit}"].value
    tiers = named(cohort([*usual[:-1], replace(usual[-1], tokens=2**53)]), tier=1)
    assert tiers["cut_runs"].value == 1


def test_calibration_figures_need_labels_on_both_sides(cast, cohort):
    retained = [cast.Asked(small=float(i % 2), score=0.5 + i / 20) for i in range(8)]
    escalated = [cast.Asked(reason=Reason.SCORE, score=0.2) for _ in range(4)]
    figures = named(cohort(retained + escalated), tier=0)
    assert figures["auroc_score"].value is None
    assert figures["ece"].not_identified == "no labels on the 4 escalated answers"


def test_auroc_brier_and_overconfidence_of_a_tier(ten):
    figures = named(ten, tier=0)
    right = [0.95, 0.7, 0.7, 0.7, 0.6, 0.6]
    wrong = [0.95, 0.5, 0.6, 0.1]
    pairs = [(r > w) + 0.5 * (r == w) for r in right for w in wrong]
    assert figures["auroc_score"].value == pytest.approx(sum(pairs) / len(pairs))
    brier = (sum((1 - r) ** 2 for r in right) + sum(w**2 for w in wrong)) / 10
    assert figures["brier"].value == pytest.approx(brier)
    assert figures["overconfidence"].value == pytest.approx(0.5)
    assert figures["accuracy"].value == pytest.approx(0.6)
    assert named(ten)["cbpe"].value == pytest.approx((0.95 * 2 + 0.7 * 3 + 0.5) / 6)


def test_unevenly_labelled_sides_are_thinned_to_one_rate(cast, cohort):
    """Escalated rows carry a label with chance 1/4: the AUROC must not be that of the retained
    alone.
    """
    retained = [cast.Asked(small=1.0, score=0.9) for _ in range(200)]
    escalated = [
        cast.Asked(reason=Reason.SCORE, score=0.1, small=0.0 if i % 4 == 0 else None, label_propensity=0.25)
        for i in range(200)
    ]
    figures = named(cohort(retained + escalated), tier=0)
    assert figures["auroc_score"].value == 1.0
    assert figures["calibration_in_the_large"].n < 150
    assert figures["auroc_score"].n == figures["ece"].n


def test_what_the_ood_gate_alone_escalates(ten):
    figures = named(ten, tier=0)
    assert figures["ood_only_share"].value == pytest.approx(0.3)
    assert figures["ood_gain"].value == pytest.approx(1 / 3)
    assert figures["ood_as_good"].value == pytest.approx(2 / 3)
    assert figures["ood_needless_usd"].value == pytest.approx(3 * 1e-4 * 2 / 3)


def test_self_selected_labels_never_judge_the_ood_gate(cast, cohort):
    asked = [cast.Asked(reason=Reason.OOD, small=1.0, large=1.0, label_propensity=None) for _ in range(3)]
    figures = named(cohort(asked), tier=0)
    assert figures["ood_only_share"].value == 1.0
    assert figures["ood_gain"].value is None
    assert "unknown propensity" in figures["ood_gain"].not_identified


def test_slices_have_their_own_figures(ten):
    assert named(ten, slice="a")["queries"].value == 4
    assert named(ten, slice="b")["escalated_share.ood"].value == pytest.approx(0.5)
    assert "escalated_share.ood" not in named(ten, slice="a")


@pytest.mark.slow
def test_a_free_text_slice_does_not_fill_the_database(cast, cohort):
    asked = [cast.Asked(slice=f"s{i}") for i in range(SLICES_AT_MOST + 5)]
    rows = figures_of(cohort(asked), computed_at=cast.DAY)
    assert len({row.slice for row in rows if row.slice is not None}) == SLICES_AT_MOST


def test_an_immature_cohort_says_so_and_counts_only_labels_that_are_there(cast, cohort):
    asked = [cast.Asked(small=1.0), cast.Asked(small=0.0, labelled_after=timedelta(days=1))]
    early = cohort(asked, as_of=cast.DAY + timedelta(hours=2))
    late = cohort(asked, as_of=cast.DAY + timedelta(days=3))
    assert not named(early)["accuracy_cascade"].mature
    assert named(early)["accuracy_cascade"].value == 1.0
    assert named(late)["accuracy_cascade"].mature
    assert named(late)["accuracy_cascade"].value == 0.5


def test_labels_are_counted_as_known_mature_late_and_overdue(cast, cohort):
    asked = [
        cast.Asked(small=1.0),
        cast.Asked(small=1.0, labelled_after=timedelta(days=3)),
        cast.Asked(),
        cast.Asked(explored=True, small=1.0),
    ]
    figures = named(cohort(asked))
    assert figures["labels_known"].value == 3
    assert figures["labels_mature"].value == 3
    assert figures["labels_late"].value == 1
    assert figures["labels_overdue"].value == 2  # one without a label, one explored without the last tier's
    assert figures["label_coverage"].value == 0.75


def test_an_empty_window_has_one_figure(cohort):
    assert [row.name for row in figures_of(cohort([]), computed_at=cohort([]).as_of)] == ["queries"]


def test_what_no_certificate_covers_is_in_no_promise_and_in_the_bill(cast, cohort):
    covered = [cast.Asked(small=1.0, slice="a")] * 3 + [cast.Asked(reason=Reason.P_T, slice="b")]
    outside = [cast.Asked(uncertified=True, tokens=30, large=0.0, slice="b")] * 2
    alone, with_them = (named(cohort(asked)) for asked in (covered, covered + outside))
    for name in ("queries", "retained_share", "escalated_share", "accuracy_cascade", "label_coverage", "savings_usd"):
        assert with_them[name].value == alone[name].value, name
    assert (with_them["uncertified_queries"].value, with_them["uncertified_queries"].n) == (2, 6)
    assert with_them["uncertified_share"].value == pytest.approx(2 / 6)
    assert with_them["uncertified_cost_tokens"].value == 60
    assert with_them["uncertified_cost_usd"].value == pytest.approx(60 * 10 / 1e6)
    # In tokens: a retained query takes 10 as the last tier would, the escalated one 20.
    saved, last = 1.0 - 50 / 40, 40
    assert with_them["savings_tokens"].value == pytest.approx(saved)
    assert with_them["savings_of_all_tokens"].value == pytest.approx(saved * last / (last + 60))
    assert with_them["savings_of_all_usd"].value == pytest.approx(alone["savings_usd"].value * 400 / 1000)
    assert alone["savings_of_all_usd"].value == alone["savings_usd"].value


def test_a_slice_counts_its_own_requests_that_no_certificate_covers(cast, cohort):
    asked = [cast.Asked(slice="a"), cast.Asked(slice="b"), cast.Asked(uncertified=True, slice="b")]
    shares = [named(cohort(asked), slice=name)["uncertified_share"].value for name in ("a", "b")]
    assert shares == [0.0, 0.5]


def test_a_window_of_nothing_but_uncovered_requests_tells_what_they_cost(cast, cohort):
    figures = named(cohort([cast.Asked(uncertified=True, tokens=20)] * 3))
    assert (figures["queries"].value, figures["uncertified_share"].value) == (0, 1.0)
    assert figures["uncertified_cost_usd"].value == pytest.approx(60 * 10 / 1e6)
    assert "savings_of_all_usd" not in figures and "retained_share" not in figures


def test_one_absurd_run_is_not_the_whole_cost_of_what_no_certificate_covers(cast, cohort):
    asked = [cast.Asked(uncertified=True, tokens=10)] * 19 + [cast.Asked(uncertified=True, tokens=2**53)]
    assert named(cohort(asked))["uncertified_cost_tokens"].value <= 19 * 10 + 10 * 10


def test_every_figure_name_is_produced(ten):
    made = {row.name for row in figures_of(ten, computed_at=ten.as_of)}
    # Of decisions that come late a run tells, which knows when the window was watched.
    assert made == {name.value for name in FigureName} - {FigureName.LATE_DECISIONS.value}


def test_a_cohort_keeps_no_texts_of_prompts_and_answers(cast, cohort):
    attempts = cohort([cast.Asked()]).attempts
    assert {"answer_key", "usd", "tokens"} <= set(attempts) and not {"prompt", "answer"} & set(attempts)


def test_decisions_of_a_tier_that_was_removed_are_left_out(cast, cohort):
    made = cohort([cast.Asked(reason=Reason.P_T), cast.Asked(), cast.Asked(reason=Reason.P_T), cast.Asked()])
    deeper = made.attempts.assign(tier=made.attempts["tier"].where(made.attempts["decision"] != 0, 2))
    left = of_known_tiers(deeper, made.spec)
    assert len(pair_decisions(left, made.spec, as_of=made.as_of)) == 3
    assert replace(made, attempts=left).attempts["decision"].max() == 2


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_decision_that_served_no_answer_or_two_is_named(cast, cohort, place):
    made = cohort([cast.Asked(explored=True) for _ in range(3)])
    assert len(pair_decisions(made.attempts, made.spec, as_of=made.as_of)) == 3
    for role, count in (("superseded", 0), ("served", 2)):
        attempts = made.attempts.copy()
        of_one = attempts["decision"] == place
        attempts.loc[of_one, "role"] = role
        name = UUID(bytes=attempts.loc[of_one, "id"].iloc[0])
        with pytest.raises(CohortInvalid, match=f"decision {name} has {count} served attempts, expected 1"):
            pair_decisions(attempts, made.spec, as_of=made.as_of)


def test_p_t_of_another_kind_is_no_p_t(cast, cohort):
    kinds = (PTKind.FIRST_TOKEN, PTKind.MEAN, None)
    found = cohort(
        [
            cast.Asked(at=cast.DAY + timedelta(minutes=at), p_t=0.2 + at / 10, p_t_kind=kind)
            for at, kind in enumerate(kinds)
        ]
    )
    assert found.attempts["p_t"].isna().tolist() == [False, True, False]
    assert found.attempts["p_t"].dropna().tolist() == [0.2, 0.4]


@pytest.fixture
def early(cast, cohort):
    """Two retained (one explored), four ended before they answered, one of which answered all the
    same, and one that answered and was escalated.
    """
    ended = {"reason": Reason.P_IK, "early": True, "large": 1.0, "p_ik": 0.2, "run_propensity": 0.25}
    asked = [
        cast.Asked(explored=True, small=1.0, large=1.0, tokens_out=10),
        cast.Asked(small=1.0, tokens_out=10),
        *(cast.Asked(**ended) for _ in range(3)),
        cast.Asked(**ended, explored=True, small=0.0, tokens_out=10),
        cast.Asked(reason=Reason.P_T, small=1.0, large=1.0, tokens_out=10),
    ]
    return cohort([replace(one, at=one.at + minute * timedelta(minutes=1)) for minute, one in enumerate(asked)])


def test_what_was_skipped_is_counted_and_owes_no_signal_of_an_answer(early):
    small = named(early, tier=0)
    assert (small["skipped_share"].value, small["skipped_share"].n) == (pytest.approx(3 / 7), 7)
    assert (small["missing_share.p_t"].value, small["missing_share.p_t"].n) == (0.0, 4)
    assert named(early)["escalated_share.p_ik"].value == pytest.approx(4 / 7)


def test_a_skipped_tier_costs_its_prompt_and_what_answered_to_teach_costs_its_answer_apart(early):
    costs = early.decisions[["tokens", "exploration_tokens", "last_tokens"]].to_numpy().tolist()
    skipped, explored, answered = costs[2], costs[5], costs[6]
    assert skipped == [10 + 10, 0, 10]
    assert explored == [10 + 10, 10, 10]
    assert answered == [20 + 10, 0, 10]
    assert early.decisions["usd"][5] == pytest.approx((10 * 1 + 10 * 10) / 1e6)
    assert early.decisions["exploration_usd"][5] == pytest.approx(10 / 1e6)


def test_what_reading_cost_where_a_gate_ended_the_tier_stands_apart(early):
    figures = named(early)
    assert (figures["ended_cost_tokens"].value, figures["ended_cost_tokens"].n) == (40.0, 4)
    assert figures["ended_cost_usd"].value == pytest.approx(40 / 1e6)
    assert (
        figures["exploration_cost_tokens"].value == 10.0 + 10.0
    )  # beside the retained answer, and the answer to teach


def test_the_last_tiers_cost_is_forecast_from_first_answers_alone(early):
    assert early.decisions["expected_last_tokens"].isna().tolist() == [False, False, True, True, True, False, False]
    assert named(early)["savings_tokens"].not_identified is None


def test_a_tiers_accuracy_is_not_that_of_what_it_may_answer_alone(early):
    accuracy = named(early, tier=0)["accuracy"]
    assert accuracy.value == pytest.approx((2 * 1.0 + 4 * 0.0 + 1 * 1.0) / 7)


def test_how_often_the_ood_gate_alone_escalates_is_unknown_where_it_came_before_p_t(cast, cohort):
    asked = [cast.Asked(reason=Reason.OOD, early=True, large=1.0), cast.Asked(small=1.0)]
    assert "before their p_t was known" in named(cohort(asked), tier=0)["ood_only_share"].not_identified

"""What a day cost, and what the labels of a mature week say, as rules read them off a cohort."""

from dataclasses import replace

from knowgate import Reason
from monitoring.names import Rule
from monitoring.rules.rules import Standing
from monitoring.watching.daily_rules import assess_costs, assess_week


def test_a_day_whose_small_answers_cost_more_than_they_save_is_dear(cast, cohort) -> None:
    kept = cast.Asked()
    thrown_away = replace(kept, reason=Reason.P_T, tokens_out=1000)
    said = assess_costs(cohort([thrown_away] * 60 + [kept] * 3))
    assert (said.rule, said.standing) == (Rule.DEARER_THAN_LAST, Standing.RAISED)
    assert assess_costs(cohort([kept] * 60)).standing is Standing.CLEAR
    assert assess_costs(cohort([thrown_away] * 60)).standing is Standing.UNKNOWN  # it keeps nothing, on purpose


def test_a_week_of_sure_and_wrong_answers_endangers_the_promise_and_the_score(cast, cohort) -> None:
    wrong = cast.Asked(explored=True, run_propensity=1.0, small=0.0, large=1.0, score=0.95)
    right = replace(wrong, small=1.0)
    said = {one.rule: one.standing for one in assess_week(cohort([wrong] * 30 + [right] * 90))}
    assert set(said) == {Rule.PROMISE_AT_RISK, Rule.OVERCONFIDENT, Rule.MISCALIBRATED}
    assert set(said.values()) == {Standing.RAISED}
    said = {one.rule: one.standing for one in assess_week(cohort([replace(right, score=0.97)] * 120))}
    assert set(said.values()) == {Standing.CLEAR}

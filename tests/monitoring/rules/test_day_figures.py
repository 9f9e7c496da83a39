"""Rules on figures of a day or a week: raised by the interval, cleared by the value, silent between
and with few rows.
"""

import pytest

from evidence.certification.certificate import Target
from knowgate.spec import TargetKind
from monitoring.figures.estimates import Estimated
from monitoring.rules.day_figures import LEAST_ROWS, assess_dearness, assess_overconfidence, assess_promise
from monitoring.rules.rules import Standing

DROP = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.02)
RIGHT = Target(kind=TargetKind.RETAINED_ACCURACY, value=0.9)
RAISED, CLEAR, UNKNOWN = Standing.RAISED, Standing.CLEAR, Standing.UNKNOWN


def seen(value: float, width: float = 0.01, n: int = 400) -> Estimated:
    return Estimated(n=n, value=value, low=value - width, high=value + width)


@pytest.mark.parametrize(
    ("target", "value", "standing"),
    [
        (DROP, 0.026, RAISED),
        (DROP, 0.0249, UNKNOWN),
        (DROP, 0.0201, UNKNOWN),
        (DROP, 0.02, CLEAR),
        (DROP, -0.05, CLEAR),
        (RIGHT, 0.89, RAISED),
        (RIGHT, 0.896, UNKNOWN),
        (RIGHT, 0.901, CLEAR),
    ],
)
def test_a_promise_is_in_danger_where_it_is_likely_broken_and_safe_where_the_estimate_keeps_it(
    target, value, standing
) -> None:
    assert assess_promise(seen(value), target).standing is standing


def test_a_promise_in_danger_is_told_with_its_interval_and_what_is_allowed() -> None:
    said = assess_promise(seen(0.031), DROP)
    assert said.cause == "kept answers lose 3.1% (2.1% to 4.1%) of 2.0% allowed, over the last mature week"
    said = assess_promise(seen(0.85, 0.02), RIGHT)
    assert said.cause == "kept answers are wrong in 15.0% (13.0% to 17.0%) of 10.0% allowed, over the last mature week"
    assert said.details["rows"] == 400


@pytest.mark.parametrize(
    ("value", "standing"), [(-0.02, RAISED), (-0.01, UNKNOWN), (-0.001, UNKNOWN), (0.0, CLEAR), (0.3, CLEAR)]
)
def test_a_cascade_is_dear_where_the_whole_interval_lies_below_nothing(value, standing) -> None:
    assert assess_dearness(seen(value), "usd").standing is standing


@pytest.mark.parametrize(("value", "standing"), [(0.12, RAISED), (0.1099, UNKNOWN), (0.101, UNKNOWN), (0.099, CLEAR)])
def test_scores_are_overconfident_where_one_in_ten_sure_answers_is_surely_wrong(value, standing) -> None:
    assert assess_overconfidence(seen(value), "small").standing is standing


@pytest.mark.parametrize("figure", [seen(0.5, n=LEAST_ROWS - 1), Estimated(n=900, not_identified="no labels")])
def test_few_rows_and_unknown_figures_say_nothing(figure) -> None:
    said = (assess_promise(figure, DROP), assess_dearness(figure, "usd"), assess_overconfidence(figure, "small"))
    assert {one.standing for one in said} == {UNKNOWN}

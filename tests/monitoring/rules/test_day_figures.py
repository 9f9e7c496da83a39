"""Rules on figures of a day or a week: raised by the interval, cleared by the value, silent between
and with few rows.
"""

import numpy as np
import pytest

from evidence.certification.certificate import Target
from evidence.signals.calibration import Calibration, calibration_of
from knowgate.spec import TargetKind
from monitoring.figures.estimates import Estimated, mean
from monitoring.rules.day_figures import (
    CALIBRATION_ROWS,
    LEAST_ROWS,
    assess_calibration,
    assess_dearness,
    assess_overconfidence,
    assess_promise,
)
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
    assert (
        said.cause == "kept answers lose 3.1 points of accuracy (2.1 to 4.1), 2 are allowed, over the last mature week"
    )
    said = assess_promise(seen(0.85, 0.02), RIGHT)
    assert said.cause == "15 % of kept answers are wrong (13 % to 17 %), 10 % may be, over the last mature week"
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


def scored(right: float, score: float = 0.8, n: int = 400) -> tuple[Calibration, Estimated]:
    """n answers of one score, of which a share `right` are."""
    correct = np.arange(n) < round(right * n)
    return calibration_of(np.full(n, score), correct), mean(correct - score, reach=(-1.0, 1.0))


@pytest.mark.parametrize(
    ("right", "standing"), [(0.8, CLEAR), (0.76, CLEAR), (0.72, UNKNOWN), (0.7, RAISED), (0.4, RAISED), (0.9, RAISED)]
)
def test_scores_are_miscalibrated_where_the_mean_is_off_by_more_than_five_points_for_certain(right, standing) -> None:
    assert assess_calibration(scored(right), "small").standing is standing


def test_scores_that_are_right_on_average_and_wrong_from_score_to_score_are_heard() -> None:
    score, correct = np.repeat([0.3, 0.9], 200), np.tile([1.0, 1.0, 1.0, 0.0, 0.0], 80)  # always 6 in 10
    said = assess_calibration((calibration_of(score, correct), mean(correct - score, reach=(-1.0, 1.0))), "small")
    assert said.standing is RAISED
    assert said.cause == (
        "scores of tier small are right on average, and off by 30 points from score to score, of which chance makes"
        " 2.1, on 400 labelled answers of the last mature week"
    )


def test_few_labels_say_nothing_of_calibration() -> None:
    assert assess_calibration(scored(0.2, n=CALIBRATION_ROWS - 1), "small").standing is UNKNOWN
    assert assess_calibration(scored(0.2, n=CALIBRATION_ROWS), "small").standing is RAISED
    assert assess_calibration(None, "small").standing is UNKNOWN

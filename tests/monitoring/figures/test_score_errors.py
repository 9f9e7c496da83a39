"""The accuracy of what was retained as its scores have it: an interval with the calibrator's error
in it, or none.
"""

from math import sqrt

import numpy as np
import pytest
from scipy.special import ndtri

from knowgate._models.resampled import ResampledScores
from knowgate._records.records import Reason
from monitoring.figures.figures import figures_of

Z = float(ndtri(0.975))
# Refits that are off by .1 in either direction at any score.
OFF = ResampledScores(at=np.float32([0.0, 1.0]), refits=np.float32([[0.0, 0.9], [0.1, 1.0]]))
AT_HALF = ResampledScores(at=np.float32([0.5]), refits=np.float32([[0.45], [0.55]]))


def by_scores(cohort, errors):
    (row,) = (
        row
        for row in figures_of(cohort, computed_at=cohort.as_of, score_errors=errors)
        if row.name == "cbpe" and row.slice is None
    )
    return row


def test_its_interval_holds_the_calibrators_error_and_the_chance_of_the_answers(cast, cohort):
    asked = [cast.Asked(score=0.5, bundle="a" * 64) for _ in range(25)]
    row = by_scores(cohort(asked), {("a" * 64, 0): AT_HALF})
    half = Z * sqrt(0.05**2 + 0.5 * 0.5 / 25)
    assert (row.value, row.low, row.high) == pytest.approx((0.5, 0.5 - half, 0.5 + half), abs=1e-6)
    assert row.not_identified is None


def test_many_decisions_leave_the_calibrators_error_as_it_is(cast, cohort):
    asked = [cast.Asked(score=0.5, bundle="a" * 64) for _ in range(600)]
    row = by_scores(cohort(asked), {("a" * 64, 0): AT_HALF})
    assert row.high - row.low > 2 * Z * 0.05


def test_without_the_refits_of_every_bundle_it_has_a_value_and_no_interval(cast, cohort):
    asked = [cast.Asked(score=0.5, bundle=name * 64) for name in "aaab"] + [cast.Asked(score=0.5)]
    row = by_scores(cohort(asked), {("a" * 64, 0): AT_HALF})
    assert (row.value, row.low, row.high) == (0.5, None, None)
    assert row.not_identified.startswith("no interval: of 2 of 5 scores the calibrator's own error is not known")
    assert by_scores(cohort(asked), {}).low is None


def test_errors_of_several_bundles_add_up(cast, cohort):
    asked = [cast.Asked(score=0.5, bundle=name * 64) for name in "aaab" * 10]
    other = ResampledScores(at=np.float32([0.5]), refits=np.float32([[0.25], [0.75]]))
    row = by_scores(cohort(asked), {("a" * 64, 0): AT_HALF, ("b" * 64, 0): other})
    assert row.high - row.low == pytest.approx(2 * Z * sqrt((0.75 * 0.05 + 0.25 * 0.25) ** 2 + 0.25 / 40), abs=1e-6)


def test_what_was_escalated_or_has_no_score_does_not_count(cast, cohort):
    asked = [cast.Asked(score=0.9, bundle="a" * 64), cast.Asked(score=None, bundle="b" * 64)]
    asked.append(cast.Asked(score=0.1, reason=Reason.SCORE, bundle="b" * 64))
    row = by_scores(cohort(asked), {("a" * 64, 0): OFF})
    assert row.value == pytest.approx(0.9) and row.n == 1 and row.high == 1.0

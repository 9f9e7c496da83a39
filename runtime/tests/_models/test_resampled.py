"""The error of a mean of scores is read off refits at a few scores, and off nothing else."""

import numpy as np
import pytest

from knowgate._models.resampled import ResampledScores
from knowgate.errors import RecordInvalid


def test_the_error_is_the_root_mean_square_of_the_refits_around_the_scores() -> None:
    resampled = ResampledScores(
        at=np.float32([0.25, 0.5, 0.75]), refits=np.float32([[0.25, 0.5, 0.75], [0.25, 0.75, 1.0], [0.0, 0.5, 0.25]])
    )
    # At a score of one half the refits are off by 0, .25 and 0; between two scores by what lies
    # between.
    assert resampled.error_of_mean(np.array([0.5])) == pytest.approx(np.sqrt(0.0625 / 3))
    assert resampled.error_of_mean(np.array([0.625])) == pytest.approx(np.sqrt((0.25**2 + 0.25**2) / 3))
    # Off in opposite directions, the mean of two scores is off by less: 0, .125, −.25.
    both = resampled.error_of_mean(np.array([0.5, 0.75]))
    assert both == pytest.approx(np.sqrt((0.25**2 + 0.25**2) / 3))
    # Beyond the scores that are kept the outermost ones stand.
    assert resampled.error_of_mean(np.array([0.1])) == resampled.error_of_mean(np.array([0.25]))
    assert resampled.error_of_mean(np.array([0.9])) == resampled.error_of_mean(np.array([0.75]))


def test_more_decisions_do_not_make_it_smaller() -> None:
    resampled = ResampledScores(at=np.float32([0.5]), refits=np.float32([[0.4], [0.6]]))
    few, many = (resampled.error_of_mean(np.full(n, 0.5)) for n in (3, 30_000))
    assert few == pytest.approx(0.1) and many == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("at", "refits", "named"),
    [
        ([0.5, 0.5], [[0.1, 0.2]], "increase strictly"),
        ([0.5, 1.5], [[0.1, 0.2]], "resampled.at"),
        ([0.2, 0.5], [[0.1, -0.2]], "resampled.refits"),
        ([0.2, 0.5], [[0.1]], "resampled.refits"),
        ([], [[]], "resampled.at"),
        ([0.2, 0.5], np.zeros((0, 2)), "resampled.refits"),
    ],
)
def test_what_is_no_table_of_probabilities_is_refused(at: list[float], refits: object, named: str) -> None:
    with pytest.raises(RecordInvalid, match=named):
        ResampledScores(at=np.float32(at), refits=np.asarray(refits, dtype=np.float32))

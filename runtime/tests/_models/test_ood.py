"""The OOD statistic: a known distance, free of the prompt's length, and a percentile of its
reference.
"""

import math
from typing import Any

import numpy as np
import pytest

from knowgate._models.ood import OodStatistics
from knowgate.errors import RecordInvalid

D, K = 12, 3
RANDOM = np.random.default_rng(11)
COMPONENTS = np.linalg.qr(RANDOM.normal(size=(D, K)))[0].T
VARIANCES = np.array([9.0, 4.0, 2.0])
X = RANDOM.normal(size=(200, D)).astype(np.float32)
LENGTHS = RANDOM.integers(5, 500, size=200).astype(float)


def statistics(**changes: Any) -> OodStatistics:
    fields: dict[str, Any] = {
        "mean": np.full(D, 0.1),
        "components": COMPONENTS,
        "variances": VARIANCES,
        "residual_variance": 0.7,
        "length_slope": 0.2,
        "length_intercept": 1.5,
        "reference": np.linspace(-1, 1, 11),
    }
    return OodStatistics(**fields | changes)


def test_the_raw_statistic_is_the_log_mahalanobis_distance_of_the_full_covariance() -> None:
    covariance = COMPONENTS.T @ np.diag(VARIANCES - 0.7) @ COMPONENTS + 0.7 * np.eye(D)
    centred = X - 0.1
    expected = np.log(np.einsum("nd,de,ne->n", centred, np.linalg.inv(covariance), centred))
    assert statistics().raw(X) == pytest.approx(expected, abs=1e-4)


def test_a_state_at_the_mean_itself_is_as_near_as_can_be_told() -> None:
    ood = statistics()
    at_mean = np.full((1, D), 0.1, dtype=np.float32)
    assert ood.raw(at_mean)[0] < math.log(1e-11)
    assert ood.percentiles(at_mean, np.array([50.0])) == [0.0]
    assert ood.raw(at_mean + np.float32(0.01))[0] > math.log(1e-11)


def test_one_state_and_many_agree() -> None:
    ood = statistics()
    assert ood.statistics(X, LENGTHS) == pytest.approx(
        [ood.statistic(x, int(length)) for x, length in zip(X, LENGTHS, strict=True)], abs=1e-5
    )
    assert ood.percentiles(X, LENGTHS) == pytest.approx(
        [ood.percentile(x, int(length)) for x, length in zip(X, LENGTHS, strict=True)], abs=1e-5
    )


def test_what_length_explains_is_taken_off() -> None:
    base = statistics(length_slope=0.0, length_intercept=0.0)
    state = X[0]
    plain, adjusted = base.statistic(state, 50), statistics().statistic(state, 50)
    assert plain is not None
    assert adjusted == pytest.approx(plain - 1.5 - 0.2 * math.log(50), abs=1e-6)


@pytest.mark.parametrize("tokens_in", [None, 0])
def test_without_a_length_there_is_no_statistic(tokens_in: int | None) -> None:
    ood = statistics()
    assert ood.statistic(X[0], tokens_in) is None
    assert ood.percentile(X[0], tokens_in) is None
    lengths = np.array([np.nan if tokens_in is None else 0.0, 10.0])
    assert np.isnan(ood.percentiles(X[:2], lengths)).tolist() == [True, False]


def test_a_percentile_is_linear_between_quantiles_and_clipped_outside() -> None:
    ood = statistics(reference=np.array([0.0, 1.0, 3.0]))
    for value, rank in [(-5, 0), (0, 0), (0.5, 0.25), (1, 0.5), (2, 0.75), (3, 1), (9, 1)]:
        assert ood.rank(value) == pytest.approx(rank)
        assert ood.ranks(np.array([float(value)]))[0] == pytest.approx(rank)


def test_equal_quantiles_are_passed_at_once() -> None:
    ood = statistics(reference=np.array([0.0, 1.0, 1.0, 1.0, 2.0]))
    values = [0.999999, 1.0, 1.5, 2.0]
    expected = [0.25, 0.75, 0.875, 1.0]
    assert [ood.rank(value) for value in values] == pytest.approx(expected, abs=1e-6)
    assert ood.ranks(np.array(values)) == pytest.approx(expected, abs=1e-6)


def test_ranks_of_one_and_many_agree_exactly() -> None:
    ood = statistics(reference=np.sort(np.round(RANDOM.normal(size=40), 1)))
    values = np.concatenate([RANDOM.normal(size=300), ood.reference.astype(float)])
    assert ood.ranks(values).tolist() == [ood.rank(value) for value in values.tolist()]


def test_the_centre_itself_has_a_finite_statistic() -> None:
    assert statistics().percentile(np.full(D, 0.1, dtype=np.float32), 10) == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variances": np.array([1.0, 0.0, 1.0])}, "above 0"),
        ({"variances": np.ones(2)}, "ood.variances.shape"),
        ({"residual_variance": 0.0}, "above 0"),
        ({"residual_variance": math.nan}, "ood.residual_variance"),
        ({"length_slope": math.inf}, "ood.length_slope"),
        ({"components": COMPONENTS * 2}, "orthonormal"),
        ({"components": np.full((3, D), 3e38)}, "orthonormal"),
        ({"components": COMPONENTS[:, :-1]}, "ood.components.shape"),
        ({"reference": np.array([1.0, 0.0])}, "never decrease"),
        ({"reference": np.array([1.0])}, "at least two"),
        ({"mean": np.full(D, np.nan)}, "ood.mean"),
    ],
)
def test_statistics_that_mean_nothing_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordInvalid, match=message):
        statistics(**changes)

"""Paths of candidates: label-free, conservative first, every gate at the same level."""

import numpy as np
import pytest

from evidence.certification.certificate import Gate, Thresholds
from evidence.certification.path import OOD_AT_MOST, equal_quantile_path, path_of
from evidence.errors import InvalidInputError
from knowgate.policy import PolicyKind
from tests.evidence.walks import one_gate_path


def gates(thresholds: Thresholds, tier: int = 0) -> tuple[Gate, ...]:
    of_tier = thresholds[tier]
    assert of_tier is not None
    return of_tier


def values(path: list[Thresholds], tier: int = 0, gate: int = 0) -> list[float]:
    return [gates(thresholds, tier)[gate].threshold for thresholds in path]


def test_one_gate_opens_from_the_highest_score_to_the_lowest() -> None:
    scores = np.random.default_rng(0).random(1000)
    path = one_gate_path(scores)
    assert len(path) == 480
    assert values(path) == sorted(values(path), reverse=True)
    assert values(path)[-1] == scores.min()
    retained = [(scores >= value).mean() for value in values(path)]
    assert retained == pytest.approx(np.arange(1, 481) / 480, abs=0.0011)


def test_thresholds_are_scores_that_occur_and_each_occurs_once() -> None:
    path = one_gate_path([0.5] * 90 + [0.9] * 10)
    assert values(path) == [0.9, 0.5]


def test_ood_opens_upwards_while_the_other_gates_open_downwards() -> None:
    rng = np.random.default_rng(1)
    path = equal_quantile_path([{"p_ik": rng.random(500), "p_t": rng.random(500), "ood": rng.random(500)}], points=50)
    assert [gate.signal for gate in gates(path[0])] == ["p_ik", "p_t", "ood"]
    assert values(path, gate=0) == sorted(values(path, gate=0), reverse=True)
    assert values(path, gate=2) == sorted(values(path, gate=2))


def test_a_chain_opens_all_its_tiers_together() -> None:
    path = equal_quantile_path([{"p_t": [0.1, 0.2, 0.3]}, {"p_t": [0.7, 0.8, 0.9]}], points=3)
    assert list(zip(values(path), values(path, tier=1), strict=True)) == [(0.3, 0.9), (0.2, 0.8), (0.1, 0.7)]


def test_missing_scores_take_no_part_in_the_grid() -> None:
    assert values(one_gate_path([float("nan"), 0.4, float("nan")], points=5)) == [0.4]


def test_bad_input_is_named() -> None:
    with pytest.raises(InvalidInputError, match="p_t is missing in every row"):
        one_gate_path([float("nan")])
    with pytest.raises(InvalidInputError, match="p_t is empty"):
        one_gate_path([])
    with pytest.raises(InvalidInputError, match="points is 0"):
        one_gate_path([0.5], points=0)
    with pytest.raises(InvalidInputError, match="tier without a signal"):
        equal_quantile_path([{}])


def test_a_gate_that_opens_twice_as_fast_is_open_at_half_of_the_path_and_none_opens_below_what_was_seen() -> None:
    rng = np.random.default_rng(5)
    p_ik, p_t = rng.random(400), rng.random(400)
    path = path_of(PolicyKind.GATES, [{"p_ik": p_ik, "p_t": p_t, "ood": rng.random(400)}], speed={"p_ik": 2.0})
    at = np.array([[gate.threshold for gate in tiers[0] or ()] for tiers in path])
    passing = np.column_stack([(p_ik >= at[:, :1]).mean(axis=1), (p_t >= at[:, 1:2]).mean(axis=1)])
    np.testing.assert_allclose(passing[:, 0], np.minimum(2 * passing[:, 1], 1.0), atol=2.5 / 400)
    assert at[-1].tolist() == [p_ik.min(), p_t.min(), OOD_AT_MOST]

"""Refits of a calibrator say how far a mean of its scores may be off: as far as it is."""

import numpy as np
import numpy.typing as npt
import pytest

from evidence.signals.score_fit import SignalRows
from knowgate._models.score import ScoreModel
from training.tiers.calibrate import fit_score
from training.tiers.resample import RESAMPLES, SCORES_KEPT, resampled_scores

Floats = npt.NDArray[np.float64]
Z = 1.96


def right(sums: Floats, bent: bool) -> Floats:
    """P(right) of signals that sum to this: a sigmoid, or what no sigmoid follows."""
    return np.minimum(0.93, 0.4 + 0.5 / (1 + np.exp(-2.5 * sums))) if bent else 1 / (1 + np.exp(-1.1 * sums))


def rows(rng: np.random.Generator, n: int, bent: bool) -> tuple[SignalRows, Floats]:
    a, b = rng.normal(0.4, 0.9, n), rng.normal(0.4, 0.9, n)
    chance, unknown = right(a + b, bent), np.full(n, np.nan)
    made = SignalRows(
        p_t=1 / (1 + np.exp(-a)),
        p_ik=1 / (1 + np.exp(-b)),
        entropy=unknown,
        margin=unknown,
        slices=(None,) * n,
        y=(rng.random(n) < chance).astype(float),
    )
    return made, chance


def names(n: int) -> tuple[str, ...]:
    return tuple(f"prompt {row}" for row in range(n))


def scores_of(model: ScoreModel, of: SignalRows) -> Floats:
    return model.scores(p_t=of.p_t, p_ik=of.p_ik)


def coverage(n: int, bent: bool, runs: int) -> tuple[float, float]:
    """How often value ± 1.96 errors holds the accuracy of what is retained, with the calibrator's
    error and without it.
    """
    rng = np.random.default_rng([2026, n, bent])
    held = without = 0
    for _ in range(runs):
        taught, calibrates = rows(rng, 600, bent)[0], rows(rng, n, bent)[0]
        model = fit_score(taught, calibrates)
        assert model is not None
        resampled = resampled_scores(model, calibrates, names(n))
        assert resampled is not None
        traffic, chance = rows(rng, 10_000, bent)
        scores = scores_of(model, traffic)
        kept = scores >= np.quantile(scores, 0.5)
        value, truth = scores[kept].mean(), chance[kept].mean()
        chances = value * (1 - value) / kept.sum()
        held += abs(value - truth) <= Z * np.sqrt(resampled.error_of_mean(scores[kept]) ** 2 + chances)
        without += abs(value - truth) <= Z * scores[kept].std() / np.sqrt(kept.sum())
    return held / runs, without / runs


@pytest.mark.parametrize(
    ("n", "bent"),
    [(300, True), *(pytest.param(*one, marks=pytest.mark.slow) for one in ((300, False), (3000, False), (3000, True)))],
)
def test_intervals_with_the_calibrators_error_cover_and_without_it_hardly_ever_do(n: int, bent: bool) -> None:
    runs = 150
    held, without = coverage(n, bent, runs)
    assert held >= 0.93 - 2 * np.sqrt(0.95 * 0.05 / runs)
    assert without < 0.5


def test_the_same_rows_give_the_same_refits_at_their_quantiles() -> None:
    calibrates = rows(np.random.default_rng(1), 500, False)[0]
    model = fit_score(calibrates, calibrates)
    assert model is not None
    one, other = (resampled_scores(model, calibrates, names(500)) for _ in range(2))
    assert one is not None and other is not None
    np.testing.assert_array_equal(one.refits, other.refits)
    assert one.refits.shape == (RESAMPLES, SCORES_KEPT)
    own = scores_of(model, calibrates)
    assert (one.at[0], one.at[-1]) == (np.float32(own.min()), np.float32(own.max()))


def test_rows_of_one_prompt_tell_less_than_as_many_prompts() -> None:
    few = rows(np.random.default_rng(2), 100, False)[0]
    n = 1000
    many = SignalRows(
        **{name: np.repeat(getattr(few, name), 10) for name in ("p_t", "p_ik", "entropy", "margin", "y")},
        slices=(None,) * n,
    )
    model = fit_score(many, many)
    assert model is not None
    prompts = tuple(f"prompt {row // 10}" for row in range(n))
    together, apart = resampled_scores(model, many, prompts), resampled_scores(model, many, names(n))
    assert together is not None and apart is not None
    scores = scores_of(model, many)
    assert together.error_of_mean(scores) > 2 * apart.error_of_mean(scores)


def test_rows_without_a_label_or_a_score_are_left_out_and_too_few_make_none() -> None:
    calibrates = rows(np.random.default_rng(3), 200, False)[0]
    model = fit_score(calibrates, calibrates)
    assert model is not None
    unlabelled = SignalRows(
        p_t=calibrates.p_t,
        p_ik=np.where(np.arange(200) % 2 == 0, np.nan, calibrates.p_ik),
        entropy=calibrates.entropy,
        margin=calibrates.margin,
        slices=calibrates.slices,
        y=np.where(np.arange(200) < 150, np.nan, calibrates.y),
    )
    assert resampled_scores(model, unlabelled, names(200)) is None  # 25 rows have both
    assert resampled_scores(model, calibrates, names(200)) is not None

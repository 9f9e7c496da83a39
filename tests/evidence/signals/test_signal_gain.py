"""What a signal adds to a baseline: known answers, and intervals that hold what they should as
often as they say.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.errors import InvalidInputError
from evidence.signals.quality import auroc
from evidence.signals.signal_gain import LEAST_COMPARED, gain_over, gain_within_slices, signal_gain


def test_a_small_case_by_hand() -> None:
    # Signal: r r r r w w w w. Baseline: r r w r w w w r.
    right = [1, 1, 1, 1, 0, 0, 0, 0]
    gain = signal_gain([8, 7, 6, 5, 4, 3, 2, 1], [8, 7, 5, 1, 6, 4, 3, 2], right, share=0.5)
    assert (gain.n, gain.at_share, gain.at_wrong) == (8, 0.5, 0.125)
    assert gain.accuracy == 0.25  # 4 of 4 right, beside 3 of 4
    assert gain.share == 0.125  # with one wrong answer 5 of 8 are retained, beside 4 of 8
    assert gain.auroc == pytest.approx(1.0 - 11 / 16)


def test_a_gain_names_its_tier_and_signal_and_is_over_rows_that_show_both() -> None:
    scores, baseline = np.arange(24.0), np.arange(24.0)[::-1].copy()
    right = np.arange(24) % 2.0
    scores[0] = baseline[1] = right[2] = right[3] = np.nan
    gain = gain_over(scores, baseline, right, tier=1, signal="p_ik", share=0.3)
    assert gain is not None
    assert (gain.tier, gain.signal, gain.n, gain.at_share) == (1, "p_ik", LEAST_COMPARED, 0.3)
    scores[4] = np.nan
    assert gain_over(scores, baseline, right, tier=1, signal="p_ik") is None, "19 rows are too few"
    assert gain_over(np.arange(24.0), np.arange(24.0), np.ones(24), tier=1, signal="p_ik") is None, "of one class"


def test_ties_are_retained_in_part() -> None:
    gain = signal_gain([1, 1, 1, 1], [4, 3, 2, 1], [1, 1, 0, 0], share=0.5)
    assert gain.accuracy == -0.5  # a coin among equals is right half the time
    assert gain.share == -0.5


def test_what_a_signal_adds_and_what_it_takes_have_one_interval() -> None:
    random = np.random.default_rng(3)
    one, other, right = random.normal(size=60), random.normal(size=60), np.arange(60) % 2
    there, back = (signal_gain(*pair, right, share=0.4) for pair in ((one, other), (other, one)))
    assert (there.accuracy_low, there.accuracy_high) == pytest.approx((-back.accuracy_high, -back.accuracy_low))


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(20, 60), st.floats(0.1, 1.0))
def test_a_signal_adds_nothing_to_itself_and_takes_what_another_adds(seed: int, n: int, share: float) -> None:
    random = np.random.default_rng(seed)
    one, other, right = random.normal(size=n).round(1), random.normal(size=n).round(1), random.random(n) < 0.5
    right[:2] = (True, False)
    itself = signal_gain(one, one, right, share=share)
    assert (itself.auroc, itself.accuracy, itself.share) == (0.0, 0.0, 0.0)
    there, back = (signal_gain(*pair, right, share=share) for pair in ((one, other), (other, one)))
    assert there.auroc == pytest.approx(-back.auroc)
    assert there.accuracy == pytest.approx(-back.accuracy)
    for gain in (there, back):
        assert gain.accuracy_low <= gain.accuracy <= gain.accuracy_high
        assert gain.share_low <= gain.share <= gain.share_high
        assert gain.share_low >= -1.0 and gain.share_high <= 1.0
    again = signal_gain(np.exp(one), other, right, share=share)
    assert again.accuracy == there.accuracy  # order alone counts


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    def drawn(random: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        latent = random.normal(size=n)
        right = random.random(n) < 1 / (1 + np.exp(-1.5 * latent - 0.5))
        return latent + random.normal(size=n), latent + 2 * random.normal(size=n), right

    truth = signal_gain(*drawn(np.random.default_rng(1), 400_000), share=0.4)
    covered = {"auroc": 0, "accuracy": 0, "share": 0}
    runs = 150
    for seed in range(runs):
        found = signal_gain(*drawn(np.random.default_rng(1000 + seed), 300), share=0.4)
        for name in covered:
            inside = getattr(found, f"{name}_low") <= getattr(truth, name) <= getattr(found, f"{name}_high")
            covered[name] += int(inside)
    for name, count in covered.items():  # 95 % say the intervals; 3 standard errors of 150 runs are .053
        assert count / runs >= 0.95 - 0.053, name


def test_a_part_of_many_rows_gives_an_interval_of_all_of_them() -> None:
    random = np.random.default_rng(5)
    n = 80_000
    latent = random.normal(size=n)
    right = random.random(n) < 1 / (1 + np.exp(-latent))
    scores, baseline = latent + random.normal(size=n), latent + 2 * random.normal(size=n)
    all_rows = signal_gain(scores, baseline, right, share=0.5)
    quarter = signal_gain(scores[::4], baseline[::4], right[::4], share=0.5)
    widths = [gain.accuracy_high - gain.accuracy_low for gain in (all_rows, quarter)]
    assert widths[0] == pytest.approx(widths[1] / 2, rel=0.25)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="one class"):
        signal_gain([1, 2], [2, 1], [1, 1], share=0.5)
    with pytest.raises(InvalidInputError, match="share is 0"):
        signal_gain([1, 2], [2, 1], [1, 0], share=0.0)
    with pytest.raises(InvalidInputError):
        signal_gain([1, 2], [2, 1, 3], [1, 0], share=0.5)


def mixture(
    rng: np.random.Generator, n: int, within: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Three kinds of questions that are right .35, .65 and .9 of the time. P(T) knows something
    within each; the probe knows the kind, and within it as much as `within` says.
    """
    kind = rng.integers(0, 3, n)
    hardness = rng.normal(size=n)
    right = rng.random(n) < 1 / (1 + np.exp(-(np.array([-0.7, 0.7, 2.5])[kind] - hardness)))
    p_t = -hardness + rng.normal(0, 1.2, n)
    probe = 2.0 * kind + within * -hardness + rng.normal(0, 0.8, n)
    return p_t + probe, p_t, right.astype(float), tuple(f"kind {one}" for one in kind)


def test_a_probe_that_knows_the_kind_of_question_alone_adds_nothing_beyond_the_slice() -> None:
    score, p_t, right, slices = mixture(np.random.default_rng(3), 6000, within=0.0)
    gain = gain_over(score, p_t, right, tier=0, signal="score", slices=slices)
    assert gain is not None and gain.within_slices is not None
    assert gain.auroc_low > 0.05, "beyond P(T) it adds much"
    assert gain.within_slices.slices == 3 and gain.within_slices.n == 6000
    assert gain.within_slices.auroc_high < 0.0, "beyond the slice it is noise"


def test_a_probe_that_knows_more_than_the_kind_adds_beyond_the_slice() -> None:
    score, p_t, right, slices = mixture(np.random.default_rng(4), 6000, within=1.0)
    gain = gain_over(score, p_t, right, tier=0, signal="score", slices=slices)
    assert gain is not None and gain.within_slices is not None
    assert 0.0 < gain.within_slices.auroc_low < gain.within_slices.auroc < gain.auroc_low


def test_knowing_the_slice_or_weighing_p_t_in_each_changes_nothing_within_slices() -> None:
    _, p_t, right, slices = mixture(np.random.default_rng(5), 900, within=0.0)
    kind = np.array([float(name[-1]) for name in slices])
    within = gain_within_slices(3.0 * kind + (1.0 + kind) * p_t, p_t, right, slices)
    assert within is not None
    assert (within.auroc, within.auroc_low, within.auroc_high) == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)


def test_it_is_the_mean_over_slices_by_their_rows() -> None:
    score, p_t, right, slices = mixture(np.random.default_rng(6), 300, within=0.5)
    within, expected = gain_within_slices(score, p_t, right, slices), 0.0
    for name in set(slices):
        rows = np.array([one == name for one in slices])
        expected += rows.mean() * (auroc(score[rows], right[rows]).value - auroc(p_t[rows], right[rows]).value)
    assert within is not None and within.auroc == pytest.approx(expected)


def test_slices_that_cannot_be_compared_do_not_count_and_one_alone_is_none() -> None:
    score, p_t, right, slices = mixture(np.random.default_rng(7), 600, within=0.5)
    two = [None if name == "kind 2" else name for name in slices]
    within = gain_within_slices(score, p_t, right, two)
    assert within is not None and within.slices == 2 and within.n == sum(name is not None for name in two)
    always = np.where(np.array(slices) == "kind 0", 1.0, right)  # of one class
    lacking = gain_within_slices(score, p_t, always, two)
    assert lacking is None, "one slice is left"
    rare = ["rare" if row < LEAST_COMPARED - 1 else name for row, name in enumerate(two)]
    again = gain_within_slices(score, p_t, right, rare)
    assert again is not None and again.slices == 2
    assert gain_within_slices(score, p_t, right, [None] * 600) is None
    assert gain_within_slices(score, p_t, right, ()) is None
    plain = gain_over(score, p_t, right, tier=0, signal="score")
    assert plain is not None and plain.within_slices is None
    with pytest.raises(InvalidInputError, match="unequal numbers of rows"):
        gain_within_slices(score, p_t, right, slices[:-1])


def test_its_interval_covers() -> None:
    truth = gain_within_slices(*mixture(np.random.default_rng(8), 400_000, within=0.4))
    assert truth is not None
    runs, covered = 300, 0
    for seed in range(runs):
        within = gain_within_slices(*mixture(np.random.default_rng(10_000 + seed), 400, within=0.4))
        assert within is not None
        covered += within.auroc_low <= truth.auroc <= within.auroc_high
    assert abs(covered / runs - 0.95) < 0.01 + 3 * np.sqrt(0.05 * 0.95 / runs)

"""What a signal adds to a baseline: known answers, and intervals that hold what they should as
often as they say.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.errors import InvalidInputError
from evidence.signals.signal_gain import LEAST_COMPARED, gain_over, signal_gain


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

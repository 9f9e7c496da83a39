"""Entropy, margin and mean: exact where everything is known, and bounded by the truth where a list
ends early.
"""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowgate._models.p_t import WIDTH, entropy_bounds, margin_bounds, mean_p_t, option_figures
from knowgate.errors import RecordInvalid

PROBABILITIES = st.lists(st.floats(1e-9, 1.0), min_size=2, max_size=6).map(
    lambda masses: sorted((mass / (sum(masses) * 1.01) for mass in masses), reverse=True)
)


@given(PROBABILITIES, st.data())
def test_the_truth_lies_within_the_bounds_of_a_list_that_ends_early(shares: list[float], data: st.DataObject) -> None:
    listed = data.draw(st.integers(1, len(shares)))
    known, missing = shares[:listed], len(shares) - listed
    most = shares[listed] if missing else 0.0
    most = data.draw(st.floats(most, known[-1])) if missing else 0.0
    low, high = entropy_bounds(known, missing, most)
    (truth, _) = entropy_bounds(shares, 0, 0.0)
    assert low - 1e-9 <= truth <= high + 1e-9
    low, high = margin_bounds(known, missing, most)
    assert low - 1e-12 <= shares[0] - shares[1] <= high + 1e-12


@given(PROBABILITIES)
def test_with_every_option_known_both_figures_are_exact(shares: list[float]) -> None:
    figures = option_figures(shares)
    among = [share / sum(shares) for share in shares]
    assert figures.entropy == pytest.approx(-sum(share * math.log(share) for share in among if share), abs=1e-9)
    assert figures.margin == pytest.approx(shares[0] - shares[1], abs=1e-12)


@given(PROBABILITIES, st.integers(1, 4), st.floats(0.0, 1.0))
def test_a_figure_is_given_only_where_it_is_known_to_a_hundredth(known: list[float], missing: int, part: float) -> None:
    most = part * known[-1]
    figures = option_figures(known, missing=missing, most=most)
    for figure, (low, high) in (
        (figures.entropy, entropy_bounds(known, missing, most)),
        (figures.margin, margin_bounds(known, missing, most)),
    ):
        assert (figure is None) == (high - low > WIDTH)
        assert figure is None or low - 1e-12 <= figure <= high + 1e-12


def test_one_answer_has_neither_entropy_nor_margin() -> None:
    assert option_figures([0.7]).entropy is None
    assert option_figures([0.7]).margin is None
    assert option_figures([], missing=4, most=0.1).margin is None


@given(st.lists(st.floats(-30.0, 0.0), min_size=1, max_size=20))
def test_the_mean_lies_between_the_least_and_the_likeliest_token(logs: list[float]) -> None:
    mean = mean_p_t(logs)
    assert math.exp(min(logs)) * (1 - 1e-12) <= mean <= math.exp(max(logs)) * (1 + 1e-12)
    assert mean <= sum(map(math.exp, logs)) / len(logs) * (1 + 1e-12)  # never above the arithmetic one
    assert mean_p_t(logs * 3) == pytest.approx(mean)  # whatever the length


def test_an_answer_without_tokens_has_no_mean() -> None:
    with pytest.raises(RecordInvalid, match="at least one token"):
        mean_p_t([])

"""A first token that is always likely is named, with its cure; a signal that earns its certainty,
or of another kind, is not.
"""

import numpy as np
import pytest

from services.sure_tokens import CURE, too_sure


def answers(n: int, sure: float, right: float) -> tuple[np.ndarray, np.ndarray]:
    """P(T) of .99 on the share `sure` of n answers, else .5; the share `right` of all is right."""
    p_t = np.where(np.arange(n) < sure * n, 0.99, 0.5)
    return p_t, (np.random.default_rng(1).permutation(n) < right * n).astype(float)


@pytest.mark.parametrize("kind", ["first_token", None])
def test_a_first_token_that_is_sure_of_half_wrong_answers_is_named(kind: str | None) -> None:
    said = too_sure("small", kind, *answers(400, 1.0, 0.5))
    assert said is not None
    assert "of small is 0.9 or more on 100 % of 400 labelled answers, and only 50 % of those are right" in said
    assert ("as it seems" in said) == (kind is None)
    assert '"mean"' in CURE and "P(IK)" in CURE


@pytest.mark.parametrize("kind", ["option", "mean"])
def test_another_kind_of_p_t_has_another_cure(kind: str) -> None:
    assert too_sure("small", kind, *answers(400, 1.0, 0.5)) is None


@pytest.mark.parametrize(
    ("n", "sure", "right", "named"),
    [
        (400, 0.5, 0.6, True),  # sure of half the answers
        (400, 0.49, 0.6, False),  # of fewer
        (2000, 1.0, 0.72, True),  # far fewer right than .9, and shown
        (2000, 1.0, 0.77, False),  # a little fewer
        (50, 1.0, 0.66, False),  # not shown by so few labels
    ],
)
def test_it_takes_most_answers_and_an_accuracy_that_is_shown_to_be_far_lower(
    n: int, sure: float, right: float, named: bool
) -> None:
    assert (too_sure("small", "first_token", *answers(n, sure, right)) is not None) == named


def test_answers_without_a_label_or_a_p_t_tell_nothing() -> None:
    p_t, correct = answers(400, 1.0, 0.5)
    correct[:200], p_t[200:380] = np.nan, np.nan
    assert too_sure("small", "first_token", p_t, correct) is None  # 20 are left
    assert too_sure("small", "first_token", p_t, np.full(400, np.nan)) is None

"""Whatever an engine hands over, the query is served; what does not hold counts as missing, with a
note.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowgate._deciding.intake import take_in
from knowgate._records.observation import Observation

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.complex_numbers(),
    st.lists(st.floats(), max_size=3),
    st.lists(st.lists(st.floats(), max_size=2), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.builds(object),
)


@given(p_t=ANYTHING, hidden=ANYTHING, tokens_in=ANYTHING, entropy=ANYTHING)
def test_nothing_a_caller_hands_in_raises(p_t: Any, hidden: Any, tokens_in: Any, entropy: Any) -> None:
    intake = take_in(Observation(p_t=p_t, hidden=hidden, tokens_in=tokens_in, entropy=entropy))
    assert intake.seen.p_t is None or 0 <= intake.seen.p_t <= 1
    assert intake.seen.entropy is None or 0 <= intake.seen.entropy < float("inf")
    assert intake.seen.tokens_in is None or intake.seen.tokens_in >= 0
    intake.settle()
    assert intake.vector is None or (intake.vector.ndim == 1 and np.isfinite(intake.vector).all())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.7, -0.1, "high", object()])
def test_a_p_t_that_is_no_probability_is_missing_and_said_to_be(value: Any) -> None:
    intake = take_in(Observation(p_t=value))
    assert intake.seen.p_t is None
    assert intake.notes[0].startswith("p_t is ")


def test_a_p_t_that_float32_summed_to_just_above_one_is_one() -> None:
    assert take_in(Observation(p_t=np.float32(1.0000001))).seen.p_t == 1.0


@pytest.mark.parametrize(
    "value", [np.ones((2, 3)), np.array([1.0, np.nan]), np.array([1, 2]), np.array([]), "text", [[1.0], [2.0, 3.0]]]
)
def test_a_hidden_state_that_is_none_is_missing_and_said_to_be(value: Any) -> None:
    intake = take_in(Observation(hidden=value))
    assert intake.vector is None
    assert len(intake.notes) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_float16_state_that_is_not_finite_goes_missing_when_it_is_settled(value: float) -> None:
    intake = take_in(Observation(hidden=np.array([1.0, value], dtype=np.float16)))
    intake.settle()
    intake.settle()
    assert intake.vector is None
    assert intake.notes == ["hidden is 'not finite': a state with NaN or infinity counts as missing; leave it out"]


@pytest.mark.parametrize(("value", "taken"), [(12, 12), (12.0, 12), (np.int64(12), 12), (12.5, None), (-1, None)])
def test_token_counts_are_whole_and_not_negative(value: Any, taken: int | None) -> None:
    assert take_in(Observation(tokens_in=value)).seen.tokens_in == taken

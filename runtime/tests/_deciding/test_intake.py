"""Whatever an engine hands over, the query is served; what does not hold counts as missing, with a
note.
"""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowgate._deciding.intake import take_in
from knowgate._records.observation import Observation
from knowgate.errors import RecordInvalid

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


@given(values=st.fixed_dictionaries({}, optional={field.name: ANYTHING for field in fields(Observation)}))
def test_nothing_a_caller_hands_in_raises(values: dict[str, Any]) -> None:
    intake = take_in(Observation(**values))
    assert intake.seen.p_t is None or 0 <= intake.seen.p_t <= 1
    assert intake.seen.entropy is None or 0 <= intake.seen.entropy < float("inf")
    assert intake.seen.tokens_in is None or intake.seen.tokens_in >= 0
    intake.settle()
    assert intake.vector is None or (intake.vector.ndim == 1 and np.isfinite(intake.vector).all())


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), 1.7, -0.1, "high", object(), True, np.True_, pytest.param(10**5000, id="huge")],
)
def test_a_p_t_that_is_no_probability_is_missing_and_said_to_be(value: Any) -> None:
    intake = take_in(Observation(p_t=value))
    assert intake.seen.p_t is None
    assert intake.notes[0].startswith("p_t is ")


@pytest.mark.parametrize("name", ["answer", "fingerprint", "model"])
@pytest.mark.parametrize("value", [0, b"B", ["B"], np.ones(2), object()])
def test_what_is_of_another_kind_is_missing_and_said_to_be(name: str, value: Any) -> None:
    intake = take_in(Observation(**{name: value}))
    assert getattr(intake.seen, name) is None
    assert intake.notes[0].startswith(f"{name} is ") and intake.notes[0].endswith(" is expected")


@pytest.mark.parametrize("value", [None, 0.9, {"p_t": 0.9}])
def test_what_is_no_observation_is_a_mistake_in_the_program(value: Any) -> None:
    with pytest.raises(RecordInvalid, match=r"shown is .*give what the tier showed as an Observation"):
        take_in(value)


@pytest.mark.parametrize(
    ("said", "kept"),
    [("slow", ("slow",)), (None, ()), (["slow", "cut"], ("slow", "cut")), (("slow", 3), ("slow", "3")), (3, ("3",))],
)
def test_a_lone_note_is_one_note_and_not_its_letters(said: Any, kept: tuple[str, ...]) -> None:
    assert take_in(Observation(notes=said)).seen.notes == kept


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

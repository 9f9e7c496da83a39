"""What probes see of a hidden state, today and when it is replayed from its stored form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from knowgate._models.features import FLOAT16_LARGEST, Standardiser, features, finite_states, stored_vector
from knowgate.errors import RecordInvalid

STATES = hnp.arrays(
    st.sampled_from([np.float16, np.float32, np.float64]),
    hnp.array_shapes(min_dims=1, max_dims=2, max_side=8),
    elements=st.floats(width=16, allow_nan=False, allow_infinity=False),
)


@given(hnp.arrays(np.float32, 9, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_a_state_and_its_stored_form_have_the_same_features(hidden: np.ndarray) -> None:
    stored = stored_vector(hidden)
    assert stored.dtype == np.float16
    assert features(stored).tobytes() == features(hidden).tobytes()


@given(STATES)
def test_features_are_float32_of_the_same_shape(hidden: np.ndarray) -> None:
    seen = features(hidden)
    assert (seen.dtype, seen.shape) == (np.float32, hidden.shape)
    assert np.array_equal(seen, hidden)


def test_values_beyond_float16_saturate() -> None:
    assert features(np.array([1e30, -1e30, 65519.0])).tolist() == [FLOAT16_LARGEST, -FLOAT16_LARGEST, FLOAT16_LARGEST]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_state_that_is_not_finite_is_refused(value: float, kind: type) -> None:
    with pytest.raises(RecordInvalid, match="not finite"):
        features(np.array([0.0, value], dtype=kind))


@pytest.mark.parametrize("hidden", [np.zeros(()), np.zeros((1, 1, 2)), np.zeros(0), np.zeros((3, 0))])
def test_a_state_of_another_shape_is_refused(hidden: np.ndarray) -> None:
    with pytest.raises(RecordInvalid, match=r"hidden\.shape"):
        features(hidden)


@pytest.mark.parametrize("kind", [np.int64, np.complex128, np.bool_])
def test_a_state_that_is_no_floating_point_numbers_is_refused(kind: type) -> None:
    with pytest.raises(RecordInvalid, match="floating-point"):
        features(np.zeros(3, dtype=kind))


def test_a_standardiser_has_a_positive_scale_for_each_dimension() -> None:
    with pytest.raises(RecordInvalid, match="above 0"):
        Standardiser(mean=np.zeros(2), scale=np.array([1.0, 0.0]))
    with pytest.raises(RecordInvalid, match="shape"):
        Standardiser(mean=np.zeros(2), scale=np.ones(3))
    with pytest.raises(RecordInvalid, match="finite"):
        Standardiser(mean=np.array([np.nan, 0]), scale=np.ones(2))


def test_a_model_owns_its_numbers() -> None:
    mean = np.zeros(2, dtype=np.float32)
    standardiser = Standardiser(mean=mean, scale=np.ones(2))
    mean[0] = 5
    assert standardiser.mean.tolist() == [0, 0]
    with pytest.raises(ValueError, match="read-only"):
        standardiser.mean[0] = 1


def test_every_float16_number_is_its_float32_bit_for_bit() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    assert features(finite).tobytes() == finite.astype(np.float32).tobytes()
    assert [bool(finite_states(every[[at]])) for at in range(2**16)] == np.isfinite(every).tolist()


@pytest.mark.parametrize("step", [1, 3, -1])
def test_a_state_may_lie_anyhow_in_memory(step: int) -> None:
    numbers = np.random.default_rng(1).normal(size=(4, 30)).astype(np.float16)
    for state in (numbers[1, ::step], numbers[:, 3], numbers.T[3:9, ::step], numbers.astype(">f2")[2]):
        assert features(state).tolist() == np.ascontiguousarray(state).astype(np.float32).tolist()

"""Calibrators are monotone, and the same for one logit and for many."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowgate._models.calibrator import Calibrator, Isotonic, Platt
from knowgate._models.logistic import FLOOR, logit, logits, sigmoid, sigmoids
from knowgate._models.score import ScoreModel
from knowgate._wire import codec
from knowgate.errors import RecordInvalid

LOGITS = st.floats(min_value=-1e4, max_value=1e4)


@st.composite
def isotonics(draw: st.DrawFn) -> Isotonic:
    knots = sorted(draw(st.sets(st.floats(min_value=-50, max_value=50), min_size=2, max_size=8)))
    values = draw(st.lists(st.floats(min_value=0, max_value=1), min_size=len(knots), max_size=len(knots)))
    return Isotonic(knots=tuple(knots), values=tuple(sorted(values)))


PLATTS = st.builds(Platt, slope=st.floats(0, 100), intercept=st.floats(-100, 100))
CALIBRATORS = PLATTS | isotonics()


@given(CALIBRATORS, st.lists(LOGITS, min_size=1))
def test_one_logit_and_many_have_the_same_probability(calibrator: Calibrator, values: list[float]) -> None:
    if isinstance(calibrator, Isotonic):
        values = [*values, *calibrator.knots]
    many = calibrator.probabilities(np.array(values))
    assert many == pytest.approx([calibrator.probability(value) for value in values], abs=1e-12)


@given(CALIBRATORS, LOGITS, LOGITS)
def test_a_larger_logit_never_has_a_smaller_probability(calibrator: Calibrator, first: float, second: float) -> None:
    low, high = sorted((first, second))
    assert 0 <= calibrator.probability(low) <= calibrator.probability(high) <= 1


@given(CALIBRATORS)
def test_an_unknown_logit_has_an_unknown_probability(calibrator: Calibrator) -> None:
    assert math.isnan(calibrator.probability(math.nan))
    assert np.isnan(calibrator.probabilities(np.array([math.nan])))[0]


@given(CALIBRATORS)
def test_a_calibrator_comes_back_from_its_document(calibrator: Calibrator) -> None:
    model = ScoreModel(w_p_t=1, w_p_ik=1, w_entropy=0, intercept=0, calibrator=calibrator)
    assert codec.decode(ScoreModel, codec.parse(codec.canonical(model))) == model


def test_an_isotonic_calibrator_passes_through_its_knots_and_is_flat_outside() -> None:
    curve = Isotonic(knots=(-1.0, 0.0, 2.0), values=(0.1, 0.5, 0.9))
    assert [curve.probability(x) for x in (-9, -1, -0.5, 0, 1, 2, 9)] == pytest.approx(
        [0.1, 0.1, 0.3, 0.5, 0.7, 0.9, 0.9]
    )


@pytest.mark.parametrize(
    ("knots", "values", "message"),
    [
        ((0.0,), (0.5,), "at least two"),
        ((0.0, 1.0), (0.5,), "one for each"),
        ((0.0, 0.0), (0.1, 0.2), "knots increase"),
        ((1.0, 0.0), (0.1, 0.2), "knots increase"),
        ((0.0, 1.0), (0.2, 0.1), "values never decrease"),
        ((0.0, 1.0), (0.2, 1.1), "probabilities lie"),
        ((0.0, 1.0), (math.nan, 0.5), "probabilities lie"),
        ((0.0, math.inf), (0.1, 0.2), "knots lie in"),
        ((math.nan, 1.0), (0.1, 0.2), "knots lie in"),
    ],
)
def test_a_curve_that_is_not_monotone_is_refused(
    knots: tuple[float, ...], values: tuple[float, ...], message: str
) -> None:
    with pytest.raises(RecordInvalid, match=message):
        Isotonic(knots=knots, values=values)


@pytest.mark.parametrize(("slope", "intercept"), [(-0.1, 0), (math.nan, 0), (math.inf, 0), (1, math.nan)])
def test_a_falling_or_unknown_sigmoid_is_refused(slope: float, intercept: float) -> None:
    with pytest.raises(RecordInvalid):
        Platt(slope=slope, intercept=intercept)


@given(st.lists(st.floats(0, 1), min_size=1))
def test_logits_of_one_and_many_agree_and_are_finite(probabilities: list[float]) -> None:
    many = logits(np.array(probabilities))
    assert np.isfinite(many).all()
    assert many == pytest.approx([logit(p) for p in probabilities], abs=1e-12)


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_sigmoids_of_one_and_many_agree_and_never_overflow(values: list[float]) -> None:
    assert sigmoids(np.array(values)) == pytest.approx([sigmoid(value) for value in values], abs=1e-15)


@given(st.floats(FLOOR, 1 - FLOOR))
def test_a_sigmoid_undoes_a_logit(probability: float) -> None:
    assert sigmoid(logit(probability)) == pytest.approx(probability, abs=1e-12)

"""The score is one number from all signals, and is missing where one of them is."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowgate._models.calibrator import Isotonic, Platt
from knowgate._models.score import ScoreModel
from knowgate.errors import RecordInvalid

WEIGHTS = st.floats(-5, 5)
MODELS = st.builds(
    ScoreModel,
    w_p_t=WEIGHTS,
    w_p_ik=WEIGHTS,
    w_entropy=st.just(0.0) | WEIGHTS,
    w_margin=st.just(0.0) | WEIGHTS,
    intercept=WEIGHTS,
    slices=st.dictionaries(st.sampled_from(["law", "history"]), WEIGHTS),
    calibrator=st.sampled_from([Platt(slope=1.3, intercept=0.1), Isotonic(knots=(-2, 0, 3), values=(0.1, 0.4, 0.9))]),
)
MAYBE = st.floats(0, 1) | st.sampled_from([None, math.nan])
ROWS = st.lists(
    st.tuples(
        MAYBE,
        MAYBE,
        st.floats(0, 3) | st.sampled_from([None, math.nan]),
        MAYBE,
        st.sampled_from([None, "law", "art"]),
    ),
    min_size=1,
)


@given(MODELS, ROWS)
def test_one_attempt_and_many_have_the_same_score(
    model: ScoreModel, rows: list[tuple[float | None, float | None, float | None, float | None, str | None]]
) -> None:
    one_by_one = [
        model.score(p_t=p_t, p_ik=p_ik, entropy=entropy, margin=margin, slice=name)
        for p_t, p_ik, entropy, margin, name in rows
    ]
    names = ("p_t", "p_ik", "entropy", "margin")
    columns = {name: np.array([math.nan if row[i] is None else row[i] for row in rows]) for i, name in enumerate(names)}
    many = model.scores(**columns, slices=[row[4] for row in rows])
    expected = [math.nan if score is None else score for score in one_by_one]
    assert many == pytest.approx(expected, abs=1e-12, nan_ok=True)


def score_model(**changes: float) -> ScoreModel:
    weights = {"w_p_t": 1.0, "w_p_ik": 2.0, "w_entropy": -0.5, "intercept": 0.3} | changes
    return ScoreModel(**weights, slices={"law": -1.0}, calibrator=Platt(slope=1.0, intercept=0.0))


def test_the_score_is_its_formula() -> None:
    total = math.log(0.8 / 0.2) + 2 * math.log(0.6 / 0.4) - 0.5 * 0.7 + 0.3 - 1.0
    assert score_model().score(p_t=0.8, p_ik=0.6, entropy=0.7, slice="law") == pytest.approx(1 / (1 + math.exp(-total)))


def test_a_margin_counts_by_its_weight_and_is_needed_where_it_has_one() -> None:
    model = score_model(w_margin=1.5)
    total = math.log(0.8 / 0.2) + 2 * math.log(0.6 / 0.4) - 0.5 * 0.7 + 1.5 * 0.4 + 0.3
    score = model.score(p_t=0.8, p_ik=0.6, entropy=0.7, margin=0.4)
    assert score == pytest.approx(1 / (1 + math.exp(-total)))
    assert model.score(p_t=0.8, p_ik=0.6, entropy=0.7) is None
    assert np.isnan(model.scores(p_t=np.array([0.8]), p_ik=np.array([0.6]), entropy=np.array([0.7])))[0]


def test_an_unknown_slice_and_no_slice_have_the_offset_zero() -> None:
    model = score_model()
    assert model.score(p_t=0.8, p_ik=0.6, entropy=0.7, slice="art") == model.score(p_t=0.8, p_ik=0.6, entropy=0.7)
    known = model.scores(p_t=np.array([0.8]), p_ik=np.array([0.6]), entropy=np.array([0.7]))
    assert known[0] == pytest.approx(model.score(p_t=0.8, p_ik=0.6, entropy=0.7), abs=1e-12)


@pytest.mark.parametrize("unknown", [None, math.nan])
def test_without_a_signal_it_needs_there_is_no_score(unknown: float | None) -> None:
    model = score_model()
    assert model.score(p_t=unknown, p_ik=0.6, entropy=0.7) is None
    assert model.score(p_t=0.8, p_ik=unknown, entropy=0.7) is None
    assert model.score(p_t=0.8, p_ik=0.6, entropy=unknown) is None
    assert np.isnan(model.scores(p_t=np.array([0.8]), p_ik=np.array([0.6])))[0]


def test_an_entropy_without_a_weight_may_be_missing() -> None:
    assert score_model(w_entropy=0.0).score(p_t=0.8, p_ik=0.6) is not None


@pytest.mark.parametrize("p_t", [0.0, 1.0])
def test_a_certain_model_does_not_decide_alone(p_t: float) -> None:
    score = score_model().score(p_t=p_t, p_ik=0.6, entropy=0.0)
    assert score is not None
    assert 0 < score < 1


@pytest.mark.parametrize("name", ["w_p_t", "w_p_ik", "w_entropy", "w_margin", "intercept"])
def test_a_weight_is_finite(name: str) -> None:
    with pytest.raises(RecordInvalid, match=name):
        score_model(**{name: math.inf})


def test_an_offset_is_finite() -> None:
    with pytest.raises(RecordInvalid, match=r"slices\.law"):
        ScoreModel(
            w_p_t=1,
            w_p_ik=1,
            w_entropy=0,
            intercept=0,
            slices={"law": math.nan},
            calibrator=Platt(slope=1, intercept=0),
        )

"""One score of many signals: which of them enter, at the limits, and the weights by another way."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from evidence.signals.ridge_logistic import ridge_logistic
from evidence.signals.score_fit import FEWEST_ROWS, SignalRows, fit_score

NAN = float("nan")


def rows(n: int, *, seed: int = 0, p_ik: bool = False) -> SignalRows:
    draw = np.random.default_rng(seed)
    a, b = draw.normal(size=n), draw.normal(size=n)
    return SignalRows(
        p_t=1 / (1 + np.exp(-a)),
        p_ik=1 / (1 + np.exp(-b)) if p_ik else np.full(n, NAN),
        entropy=np.full(n, NAN),
        margin=np.full(n, NAN),
        slices=(None,) * n,
        y=(draw.random(n) < 1 / (1 + np.exp(-(a + b)))).astype(float),
    )


def test_thirty_labelled_rows_that_show_their_signals_teach_a_score() -> None:
    assert FEWEST_ROWS == 30
    assert fit_score(rows(30)) is not None and fit_score(rows(29)) is None
    made = rows(31)
    for name in ("y", "p_t"):
        for place in (0, 15, 30):
            values = getattr(made, name).copy()
            values[place] = NAN
            spoilt = replace(made, **{name: values})
            assert fit_score(spoilt) is not None
            values[(place + 1) % 31] = NAN
            assert fit_score(replace(made, **{name: values})) is None


def test_a_slice_of_thirty_rows_has_an_offset_of_its_own_and_rows_without_one_have_none() -> None:
    made = replace(rows(200), slices=tuple(["a"] * 30 + ["b"] * 29 + [None] * 141))
    model = fit_score(made)
    assert model is not None and list(model.slices) == ["a"]
    hard = replace(made, y=np.where(np.arange(200) < 30, 0.0, made.y))
    harder = fit_score(hard)
    assert harder is not None and harder.slices["a"] < min(-0.5, model.slices["a"])


@pytest.mark.parametrize(("missing", "enters"), [(0, True), (2, True), (3, False)])
def test_entropy_enters_where_ninety_nine_of_a_hundred_rows_have_it(missing: int, enters: bool) -> None:
    made = rows(200)
    entropy = np.random.default_rng(3).random(200)
    entropy[:missing] = NAN
    model = fit_score(replace(made, entropy=entropy))
    assert model is not None and (model.w_entropy != 0.0) is enters
    constant = fit_score(replace(made, entropy=np.full(200, 0.3)))
    assert constant is not None and constant.w_entropy == 0.0, "one value tells nothing"


def test_p_ik_enters_where_any_row_has_one() -> None:
    without, with_it = fit_score(rows(300)), fit_score(rows(300, p_ik=True))
    assert without is not None and without.w_p_ik == 0.0
    assert with_it is not None and with_it.w_p_ik > 0.5 and with_it.w_p_t > 0.5
    some = rows(300, p_ik=True)
    some = replace(some, p_ik=np.where(np.arange(300) < 29, some.p_ik, NAN))
    assert fit_score(some) is None, "a row without one has no score, and too few have one"


def test_a_row_counts_by_its_weight() -> None:
    made = rows(100)
    doubled = SignalRows(
        **{name: np.concatenate([getattr(made, name)] * 2) for name in ("p_t", "p_ik", "entropy", "margin", "y")},
        slices=made.slices * 2,
    )
    weighted = fit_score(replace(made, weight=np.full(100, 2.0)))
    twice = fit_score(doubled)
    assert weighted is not None and twice is not None
    assert (weighted.w_p_t, weighted.intercept) == pytest.approx((twice.w_p_t, twice.intercept), abs=1e-6)


@pytest.mark.parametrize("ridge", [[0.0, 1.0, 10.0], [0.0, 0.0, 0.5]])
def test_the_regression_finds_what_a_general_descent_finds(ridge: list[float]) -> None:
    draw = np.random.default_rng(5)
    x = np.column_stack([np.ones(300), draw.normal(size=(300, 2)) * [1.0, 3.0]])
    y, weight = (draw.random(300) < 0.3 + 0.4 * (x[:, 1] > 0)).astype(float), draw.uniform(0.5, 2.0, 300)

    def loss(beta: np.ndarray) -> float:
        eta = x @ beta
        return float((weight * (np.logaddexp(0, eta) - y * eta)).sum() + 0.5 * (np.array(ridge) * beta**2).sum())

    found = ridge_logistic(x, y, weight, np.array(ridge))
    assert found == pytest.approx(minimize(loss, np.zeros(3), tol=1e-10).x, abs=1e-4)


def test_rows_that_separate_perfectly_still_end_somewhere() -> None:
    x = np.column_stack([np.ones(40), np.linspace(-1, 1, 40)])
    found = ridge_logistic(x, (x[:, 1] > 0).astype(float), np.ones(40), np.array([0.0, 1e-3]))
    assert np.isfinite(found).all() and found[1] > 10.0

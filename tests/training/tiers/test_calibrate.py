"""Calibration brings scores nearer to what they say, and never changes their order."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evidence.signals import score_fit
from evidence.signals.calibration import calibration_of
from evidence.signals.score_fit import SignalRows
from knowgate._models.calibrator import Isotonic, Platt
from services.outcome_tables.outcomes import read_outcomes
from services.outcome_tables.score_of_table import learn_score
from training.errors import TrainingRefused
from training.probes.fit import auroc
from training.tiers.calibrate import fit_calibrator, fit_isotonic, fit_platt, fit_score
from training.tiers.ood import fit_ood


def _logits(n: int, *, truth: float = 0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overconfident logits: the true log-odds are `truth` times what they say, shifted by −0.7."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 3, n)
    y = (draw.random(n) < 1 / (1 + np.exp(-(truth * logits - 0.7)))).astype(float)
    return logits, y


def _error(probabilities: np.ndarray, y: np.ndarray) -> float:
    return calibration_of(probabilities, y).expected_calibration_error


@pytest.mark.parametrize(("n", "kind"), [(400, Platt), (3000, Isotonic)])
def test_calibration_lowers_the_error_on_fresh_rows(n: int, kind: type) -> None:
    calibrator = fit_calibrator(*_logits(n))
    assert isinstance(calibrator, kind)
    logits, y = _logits(4000, seed=1)
    before = _error(1 / (1 + np.exp(-logits)), y)
    after = _error(calibrator.probabilities(logits), y)
    assert after < 0.05 < before
    assert after < before / 2


def test_platt_finds_slope_and_intercept() -> None:
    logits, y = _logits(20_000)
    platt = fit_platt(logits, y, np.ones(len(y)))
    assert platt.slope == pytest.approx(0.5, abs=0.02)
    assert platt.intercept == pytest.approx(-0.7, abs=0.05)


def test_a_signal_that_points_the_wrong_way_becomes_the_base_rate() -> None:
    logits, y = _logits(500)
    platt = fit_platt(-logits, y, np.ones(len(y)))
    assert platt.slope == 0.0
    assert platt.probability(3.0) == pytest.approx(y.mean(), abs=0.01)


def test_isotonic_is_monotone_and_stays_off_certainty() -> None:
    logits, y = _logits(1500, truth=2.0)
    curve = fit_isotonic(logits, y, np.ones(len(y)))
    assert curve is not None
    assert (np.diff(curve.values) >= 0).all() and (np.diff(curve.knots) > 0).all()
    assert curve.values[0] > 0 and curve.values[-1] < 1
    assert fit_isotonic(np.zeros(1500), y, np.ones(len(y))) is None


def test_one_class_alone_gives_a_probability_short_of_certainty() -> None:
    calibrator = fit_calibrator(np.linspace(-1, 1, 50), np.ones(50))
    assert 0.9 < calibrator.probability(0.0) < 1.0
    with pytest.raises(TrainingRefused):
        fit_calibrator(np.array([np.nan]), np.array([1.0]))


def _signals(n: int, seed: int, *, entropy: bool = True, margin: float | None = None) -> SignalRows:
    """Two signals that know different things, an entropy that knows nothing, and a harder slice.

    `margin` says how much of what the signals do not know a margin tells; None = there is none.
    """
    draw = np.random.default_rng(seed)
    a, b = draw.normal(size=n), draw.normal(size=n)
    hard = draw.random(n) < 0.4
    c = draw.normal(size=n)
    y = (draw.random(n) < 1 / (1 + np.exp(-(1.2 * a + 1.2 * b + (margin or 0) * c - 1.5 * hard + 0.5)))).astype(float)
    return SignalRows(
        p_t=1 / (1 + np.exp(-2 * a)),
        p_ik=1 / (1 + np.exp(-b)),
        entropy=draw.random(n) if entropy else np.full(n, np.nan),
        margin=np.full(n, np.nan) if margin is None else 1 / (1 + np.exp(-c)),
        slices=tuple("hard" if one else "easy" for one in hard),
        y=y,
    )


def test_the_score_beats_both_of_its_signals_and_means_what_it_says() -> None:
    model = fit_score(_signals(800, 0), _signals(800, 1))
    assert model is not None
    fresh = _signals(5000, 2)
    scores = model.scores(p_t=fresh.p_t, p_ik=fresh.p_ik, entropy=fresh.entropy, slices=fresh.slices)
    reached = auroc(scores, fresh.y) or 0
    assert reached > (auroc(fresh.p_t, fresh.y) or 0) + 0.05
    assert reached > (auroc(fresh.p_ik, fresh.y) or 0) + 0.05
    assert _error(scores, fresh.y) < 0.05
    assert model.slices["hard"] < model.slices["easy"]


def test_an_entropy_that_is_missing_gets_no_weight() -> None:
    model = fit_score(_signals(300, 0, entropy=False), _signals(300, 1))
    assert model is not None and model.w_entropy == 0.0
    assert model.score(p_t=0.9, p_ik=0.9) is not None


def test_a_margin_gets_a_weight_only_where_it_helps() -> None:
    helped = fit_score(_signals(800, 0, margin=1.5), _signals(800, 1, margin=1.5))
    idle = fit_score(_signals(800, 0, margin=0.0), _signals(800, 1, margin=0.0))
    assert helped is not None and helped.w_margin > 1.0
    assert idle is not None and idle.w_margin == 0.0
    assert helped.score(p_t=0.9, p_ik=0.9, entropy=0.3) is None  # its margin is missing
    fresh = _signals(5000, 2, margin=1.5)
    scores = helped.scores(
        p_t=fresh.p_t, p_ik=fresh.p_ik, entropy=fresh.entropy, margin=fresh.margin, slices=fresh.slices
    )
    assert _error(scores, fresh.y) < 0.05
    one = helped.score(p_t=fresh.p_t[0], p_ik=fresh.p_ik[0], entropy=fresh.entropy[0], margin=fresh.margin[0])
    assert one is not None


@pytest.mark.parametrize("with_p_ik", [True, False])
def test_a_table_teaches_the_weights_that_the_same_rows_teach_in_training(tmp_path: Path, with_p_ik: bool) -> None:
    rows = _signals(2000, 3, margin=1.5)
    lines = [
        {"query_id": f"q{at}", "tier": tier, "model": f"m{tier}", "slice": rows.slices[at], "correct": 1.0 - tier}
        | ({} if tier else {name: getattr(rows, name)[at] for name in ("p_t", "entropy", "margin")})
        | ({"p_ik": rows.p_ik[at]} if with_p_ik and not tier else {})
        | ({} if tier else {"correct": rows.y[at]})
        for at in range(2000)
        for tier in (0, 1)
    ]
    (tmp_path / "outcomes.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    learned = learn_score(read_outcomes(tmp_path / "outcomes.jsonl"))
    taught = replace(
        rows,
        **{name: getattr(rows, name)[learned.taught] for name in ("p_t", "entropy", "margin", "y", "weight")},
        p_ik=rows.p_ik[learned.taught] if with_p_ik else np.full(int(learned.taught.sum()), np.nan),
        slices=tuple(np.array(rows.slices)[learned.taught].tolist()),
    )
    (model,) = learned.models
    assert model == score_fit.fit_score(taught)
    assert (model.w_p_ik != 0.0) is with_p_ik and model.w_margin > 0.0 and set(model.slices) == {"easy", "hard"}
    if with_p_ik:
        assert replace(fit_score(taught, taught), calibrator=model.calibrator) == model


def test_too_few_rows_give_no_score() -> None:
    assert fit_score(_signals(10, 0), _signals(300, 1)) is None


def test_ood_ranks_strange_states_high_and_is_blind_to_length() -> None:
    draw = np.random.default_rng(0)

    def states(n: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        tokens = np.exp(draw.uniform(2, 6, n))
        x = draw.normal(size=(n, 40)) * (0.5 + np.log(tokens)[:, None] / 4) + shift
        return x.astype(np.float32), tokens

    calibration, lengths = states(600)
    ood = fit_ood(states(600)[0], calibration, lengths)
    assert ood is not None
    usual, usual_lengths = states(1000)
    percentiles = ood.percentiles(usual, usual_lengths)
    assert percentiles.mean() == pytest.approx(0.5, abs=0.05)
    assert abs(np.corrcoef(percentiles, np.log(usual_lengths))[0, 1]) < 0.15
    strange, strange_lengths = states(500, shift=2.0)
    assert ood.percentiles(strange, strange_lengths).mean() > 0.9
    assert fit_ood(usual, calibration, np.full(600, np.nan)) is None


def test_many_rows_and_dimensions_give_the_same_components_as_few() -> None:
    draw = np.random.default_rng(0)
    basis = np.linalg.qr(draw.normal(size=(500, 5)))[0]
    x = (draw.normal(size=(900, 5)) * [9, 8, 7, 6, 5] @ basis.T + 0.1 * draw.normal(size=(900, 500))).astype(np.float32)
    ood = fit_ood(x, x, np.full(900, 10.0))
    assert ood is not None
    np.testing.assert_allclose(np.linalg.norm(ood.components[:5] @ basis, axis=1), 1.0, atol=1e-2)
    np.testing.assert_allclose(np.sqrt(ood.variances[:5]), [9, 8, 7, 6, 5], rtol=0.1)

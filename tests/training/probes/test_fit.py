"""What a fit must find, and what must not change it."""

import numpy as np
import pytest

from knowgate._models.features import Standardiser
from knowgate._models.probe import LinearProbe, ProbeKind
from training.errors import TrainingRefused
from training.probes.fit import ProblemFigures, auroc, choose, fit_probe
from training.probes.probe_settings import FitSettings
from training.rows.row_blocks import ArrayBlocks, StreamedRows

QUICK = FitSettings(max_epochs=25, patience=4)


def _planted(n: int, *, layers: int = 4, d: int = 12, where: int = 2, seed: int = 0) -> StreamedRows:
    """Correctness that one layer alone can tell, in one direction."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, layers, d)).astype(np.float32) * 3 + 1
    p = 1 / (1 + np.exp(-1.5 * (x[:, where, 0] - 1) / 3 * 2))
    return StreamedRows(x=ArrayBlocks(x=x), y=(draw.random(n) < p).astype(np.float64))


def test_the_layer_that_knows_is_found_and_a_linear_probe_suffices() -> None:
    fitted = fit_probe(_planted(600), _planted(300, seed=1), QUICK)
    assert fitted.layer == 2
    assert fitted.probe.kind is ProbeKind.LINEAR
    fresh = _planted(1000, seed=2)
    assert (auroc(fitted.logits(fresh.x), fresh.y) or 0) > 0.8
    assert 0 < len(fitted.training_curve) == len(fitted.validation_curve) <= fitted.epochs
    assert len(fitted.all_figures) == 4 * (len(QUICK.penalties) + len(QUICK.mlp_penalties))


def test_a_bent_boundary_is_left_to_the_probe_with_a_hidden_layer() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(1500, 1, 6)).astype(np.float32)
    y = (np.abs(x[:, 0, 0]) > 0.7).astype(np.float64)
    settings = FitSettings(max_epochs=60, patience=8, mlp_learning_rate=0.01)
    fitted = fit_probe(
        StreamedRows(x=ArrayBlocks(x=x[:1000]), y=y[:1000]),
        StreamedRows(x=ArrayBlocks(x=x[1000:]), y=y[1000:]),
        settings,
    )
    assert fitted.probe.kind is ProbeKind.MLP
    assert fitted.chosen.auroc is not None and fitted.chosen.auroc > 0.85


def test_the_same_seed_gives_the_same_probe_bit_for_bit() -> None:
    first = fit_probe(_planted(300), _planted(150, seed=1), QUICK)
    second = fit_probe(_planted(300), _planted(150, seed=1), QUICK)
    np.testing.assert_array_equal(first.probe.first_layer, second.probe.first_layer)
    assert first.all_figures == second.all_figures


def test_the_runtime_probe_gives_the_logits_that_validation_saw() -> None:
    validation = _planted(150, seed=1)
    fitted = fit_probe(_planted(300), validation, QUICK)
    assert auroc(fitted.logits(validation.x), validation.y) == pytest.approx(fitted.chosen.auroc, abs=1e-6)
    p = 1 / (1 + np.exp(-fitted.logits(validation.x)))
    log_loss = -np.mean(validation.y * np.log(p) + (1 - validation.y) * np.log(1 - p))
    assert log_loss == pytest.approx(fitted.chosen.log_loss, abs=1e-4)


def test_a_row_of_weight_two_counts_as_two_rows() -> None:
    plain = _planted(200, layers=1, where=0)
    twice = np.concatenate([np.arange(200), np.arange(50)])
    weight = np.ones(200)
    weight[:50] = 2.0
    whole = FitSettings(max_epochs=40, patience=40, batch=1000, mlp_penalties=())
    validation = _planted(100, layers=1, where=0, seed=1)
    weighted = fit_probe(StreamedRows(x=plain.x, y=plain.y, weight=weight), validation, whole)
    repeated = fit_probe(StreamedRows(x=plain.x.take(twice), y=plain.y[twice]), validation, whole)
    np.testing.assert_allclose(weighted.probe.first_layer, repeated.probe.first_layer, atol=2e-3)


def test_soft_labels_are_taken_as_they_are() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(400, 1, 4)).astype(np.float32)
    y = 1 / (1 + np.exp(-x[:, 0, 0].astype(np.float64)))
    fitted = fit_probe(
        StreamedRows(x=ArrayBlocks(x=x[:300]), y=y[:300]), StreamedRows(x=ArrayBlocks(x=x[300:]), y=y[300:]), QUICK
    )
    assert np.corrcoef(fitted.logits(ArrayBlocks(x=x)), x[:, 0, 0])[0, 1] > 0.95


def test_a_warm_start_begins_where_the_former_probe_stood() -> None:
    rows, validation = _planted(300, layers=1, where=0), _planted(150, layers=1, where=0, seed=1)
    cold = fit_probe(rows, validation, QUICK)
    assert isinstance(cold.probe, LinearProbe)
    once = FitSettings(max_epochs=1, mlp_penalties=(), penalties=(cold.chosen.penalty,))
    warm = fit_probe(rows, validation, once, warm_start={0: (cold.standardiser, cold.probe)})
    assert warm.chosen.converged and not fit_probe(rows, validation, once).chosen.converged
    np.testing.assert_allclose(*(one.logits(validation.x) for one in (warm, cold)), atol=1e-3)
    other = Standardiser(mean=np.zeros(3), scale=np.ones(3))
    with pytest.raises(TrainingRefused, match="dimension 3"):
        fit_probe(rows, validation, once, warm_start={0: (other, LinearProbe(weight=np.ones(3), bias=0.0))})


def test_rows_that_cannot_teach_are_refused() -> None:
    x = np.zeros((2, 1, 3), dtype=np.float32)
    with pytest.raises(TrainingRefused, match="outside"):
        StreamedRows(x=ArrayBlocks(x=x), y=np.array([0.5, np.nan]))
    with pytest.raises(TrainingRefused, match="weight"):
        StreamedRows(x=ArrayBlocks(x=x), y=np.array([0.0, 1.0]), weight=np.array([1.0, 0.0]))


def test_within_the_noise_a_linear_probe_and_then_the_lower_loss_win() -> None:
    def one(kind: ProbeKind, auroc: float | None, loss: float) -> ProblemFigures:
        return ProblemFigures(layer=0, kind=kind, penalty=0.1, auroc=auroc, log_loss=loss)

    linear, mlp = ProbeKind.LINEAR, ProbeKind.MLP
    assert choose((one(linear, 0.80, 0.5), one(mlp, 0.805, 0.4))) == 0
    assert choose((one(linear, 0.80, 0.5), one(mlp, 0.85, 0.6))) == 1
    assert choose((one(linear, 0.80, 0.5), one(linear, 0.795, 0.4))) == 1
    assert choose((one(linear, None, 0.5), one(mlp, None, 0.4))) == 0


@pytest.mark.parametrize(("scores", "y", "expected"), [([0, 1, 2, 3], [0, 0, 1, 1], 1.0), ([1, 1], [0, 1], 0.5)])
def test_auroc_counts_ties_half(scores: list[float], y: list[float], expected: float) -> None:
    assert auroc(np.array(scores, float), np.array(y, float)) == expected
    assert auroc(np.array(scores, float), np.ones(len(y))) is None

"""Two workers of a cluster fit the probe that one process fits, and refuse what it refuses."""

from typing import Any

import numpy as np
import pytest

from training.engines.choice import RaySettings
from training.engines.ray_training import RayFit
from training.errors import TrainingRefused
from training.fit import FittedProbe, ProbeRows, fit_probe
from training.probe_module import FitSettings

TOLERANCE = 1e-3  # of a logit: sums over two shares of the rows are rounded in another order
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]


def rows_of(n: int, seed: int) -> ProbeRows:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 3, 24)).astype(np.float32)
    p = 1.0 / (1.0 + np.exp(-(1.5 * x[:, 1, 0] - x[:, 1, 1])))
    return ProbeRows(x=x, y=(draw.random(n) < p).astype(float), weight=draw.uniform(0.5, 2.0, n))


def same(ours: FittedProbe, expected: FittedProbe, x: Any) -> None:
    assert (ours.layer, ours.probe.kind, ours.chosen.penalty) == (
        expected.layer,
        expected.probe.kind,
        expected.chosen.penalty,
    )
    np.testing.assert_allclose(ours.logits(x), expected.logits(x), atol=TOLERANCE)
    for one, other in zip(ours.all_figures, expected.all_figures, strict=True):
        assert (one.layer, one.kind, one.penalty) == (other.layer, other.kind, other.penalty)
        assert one.auroc == pytest.approx(other.auroc, abs=1e-3)
        assert one.log_loss == pytest.approx(other.log_loss, abs=1e-3)


def test_two_workers_fit_the_probe_that_one_process_fits(ray_address: str) -> None:
    fit, validation = rows_of(601, 0), rows_of(301, 1)  # shares of unequal size
    settings = FitSettings(max_epochs=40)
    on_cluster = RayFit(RaySettings(address=ray_address, workers=2, cpus=2))  # a node each
    ours = on_cluster(fit, validation, settings)
    same(ours, fit_probe(fit, validation, settings), validation.x)
    assert isinstance(ours.standardiser.mean, np.ndarray) and ours.layer == 1


def test_what_a_worker_refuses_is_refused_in_the_same_words(ray_address: str) -> None:
    fit, other = rows_of(100, 0), ProbeRows(x=np.zeros((9, 1, 24), dtype=np.float32), y=np.zeros(9))
    with pytest.raises(TrainingRefused) as alone:
        fit_probe(fit, other)
    with pytest.raises(TrainingRefused) as refused:
        RayFit(RaySettings(address=ray_address))(fit, other, FitSettings())
    assert str(refused.value) == str(alone.value)

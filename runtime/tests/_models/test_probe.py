"""Probes give one logit per standardised state, alone or among many."""

import numpy as np
import pytest

from knowgate._models.probe import LinearProbe, MlpProbe, Probe, ProbeKind
from knowgate.errors import RecordInvalid

RANDOM = np.random.default_rng(3)
X = RANDOM.normal(size=(50, 8)).astype(np.float32)
LINEAR = LinearProbe(weight=RANDOM.normal(size=8), bias=0.4)
MLP = MlpProbe(w1=RANDOM.normal(size=(5, 8)), b1=RANDOM.normal(size=5), w2=RANDOM.normal(size=5), b2=-0.7)
PROBES = pytest.mark.parametrize("probe", [LINEAR, MLP], ids=["linear", "mlp"])


@PROBES
def test_one_state_and_many_have_the_same_logits(probe: Probe) -> None:
    assert np.allclose(probe.logits(X), [probe.logit(x) for x in X], rtol=0, atol=1e-5)


def test_a_linear_probe_is_its_formula() -> None:
    assert np.allclose(LINEAR.logits(X), X.astype(float) @ LINEAR.weight.astype(float) + LINEAR.bias, atol=1e-5)


def test_a_probe_with_a_hidden_layer_is_its_formula() -> None:
    units = np.maximum(X.astype(float) @ MLP.w1.T.astype(float) + MLP.b1, 0)
    assert (units == 0).any()
    assert np.allclose(MLP.logits(X), units @ MLP.w2.astype(float) + MLP.b2, atol=1e-5)


@PROBES
def test_a_shifted_probe_reads_centred_states(probe: Probe) -> None:
    centre = RANDOM.normal(size=8)
    assert np.allclose(probe.shifted(centre).logits((X - centre).astype(np.float32)), probe.logits(X), atol=1e-4)


def test_a_probe_says_its_kind_and_dimension() -> None:
    assert (LINEAR.kind, LINEAR.dimension, LINEAR.first_layer.shape) == (ProbeKind.LINEAR, 8, (1, 8))
    assert (MLP.kind, MLP.dimension, MLP.first_layer.shape) == (ProbeKind.MLP, 8, (5, 8))


def test_numbers_that_no_probe_can_hold_are_refused() -> None:
    with pytest.raises(RecordInvalid, match=r"probe\.weight"):
        LinearProbe(weight=np.array([np.inf]), bias=0.0)
    with pytest.raises(RecordInvalid, match=r"probe\.bias"):
        LinearProbe(weight=np.ones(2), bias=float("nan"))
    with pytest.raises(RecordInvalid, match=r"probe\.weight"):
        LinearProbe(weight=np.array([1e39]), bias=0.0)  # finite, but not in float32
    with pytest.raises(RecordInvalid, match=r"probe.b1.shape is \(2,\)"):
        MlpProbe(w1=np.ones((3, 4)), b1=np.ones(2), w2=np.ones(3), b2=0.0)
    with pytest.raises(RecordInvalid, match=r"probe\.w1.shape"):
        MlpProbe(w1=np.ones(3), b1=np.ones(3), w2=np.ones(3), b2=0.0)

"""One product for probe and OOD gives what the plain steps give, and lets nothing through that is
not finite.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import make_fingerprint
from knowgate._bundles.bundle_documents import TierDocument
from knowgate._bundles.tier_models import REPLAY_TOLERANCE, TierModels
from knowgate._models.calibrator import Platt
from knowgate._models.features import Standardiser, stored_vector
from knowgate._models.ood import OodStatistics
from knowgate._models.probe import LinearProbe, MlpProbe, ProbeKind
from knowgate._models.stack import Stack

NOT_FINITE = np.arange(2**16, dtype=np.uint16).view(np.float16)
NOT_FINITE = NOT_FINITE[~np.isfinite(NOT_FINITE)]
FINGERPRINT = make_fingerprint(revision="abc", layer=12)


def models_of(seed: int, *, kind: ProbeKind = ProbeKind.LINEAR, ood: bool = True, spread: float = 1.0) -> TierModels:
    """A tier's models with random numbers of a random dimension; `spread` scales what the
    standardiser divides by.
    """
    random = np.random.default_rng(seed)
    d, k, h = int(random.integers(8, 300)), int(random.integers(1, 7)), int(random.integers(1, 9))
    scale = spread * 10 ** random.uniform(-1, 1, size=d)
    linear = LinearProbe(weight=random.normal(size=d) / np.sqrt(d), bias=random.normal())
    layered = MlpProbe(
        w1=random.normal(size=(h, d)) / np.sqrt(d), b1=random.normal(size=h), w2=random.normal(size=h), b2=0.2
    )
    return TierModels(
        document=TierDocument(
            fingerprint=FINGERPRINT, probe=kind, dimension=d, ik_calibrator=Platt(slope=1.2, intercept=0.1), ood=ood
        ),
        standardiser=Standardiser(mean=scale * random.normal(size=d), scale=scale),
        probe=linear if kind is ProbeKind.LINEAR else layered,
        ood=OodStatistics(
            mean=random.normal(size=d) / 10,
            components=np.linalg.qr(random.normal(size=(d, k)))[0].T,
            variances=10 ** random.uniform(-1, 1.5, size=k),
            residual_variance=random.uniform(0.3, 3),
            length_slope=0.2,
            length_intercept=float(np.log(d)),
            reference=np.linspace(-2.0, 2.0, 21),
        )
        if ood
        else None,
    )


def states_of(models: TierModels, rows: int = 5) -> npt.NDArray[np.float16]:
    random = np.random.default_rng(rows)
    shape = (rows, models.document.dimension)
    return stored_vector(models.standardiser.mean + models.standardiser.scale * random.normal(size=shape))


def by_steps(models: TierModels, state: npt.NDArray[np.float16], tokens_in: int) -> tuple[float, float | None]:
    """p_ik and ood as one step after the other: converted, scaled, shifted, then each model by
    itself.
    """
    mean, scale = (part.astype(np.float64) for part in (models.standardiser.mean, models.standardiser.scale))
    centre = np.zeros_like(mean) if models.ood is None else models.ood.mean.astype(np.float64)
    centred = state.astype(np.float32) * (1 / scale).astype(np.float32)
    centred -= (mean / scale + centre).astype(np.float32)
    probe = models.probe.shifted(centre)
    first = probe.first_layer.dot(centred)
    p_ik = models.document.ik_calibrator.probability(probe.finish(first))
    if models.ood is None:
        return p_ik, None
    along = models.ood.components.dot(centred).astype(np.float64) ** 2
    rest = max(float(centred.dot(centred)) - along.sum(), 0.0)
    distance = float((along / models.ood.variances).sum()) + rest / models.ood.residual_variance
    adjustment = models.ood.length_intercept + models.ood.length_slope * np.log(tokens_in)
    return p_ik, models.ood.rank(float(np.log(distance) - adjustment))


@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(list(ProbeKind)),
    ood=st.booleans(),
    spread=st.sampled_from([1e-5, 1e-3, 1.0, 100.0]),
)
def test_one_product_is_the_steps_for_any_models(seed: int, kind: ProbeKind, ood: bool, spread: float) -> None:
    models = models_of(seed, kind=kind, ood=ood, spread=spread)
    assert Stack.of(models.standardiser, models.probe, models.ood) is not None
    for state in states_of(models):
        seen = models.look(state, 40)
        assert seen is not None
        expected = by_steps(models, state, 40)
        assert seen[0] == pytest.approx(expected[0], abs=REPLAY_TOLERANCE)
        assert seen[1] == (None if expected[1] is None else pytest.approx(expected[1], abs=REPLAY_TOLERANCE))
        assert models.look(state.copy(), 40) == seen


def test_there_is_no_one_product_where_a_distance_would_leave_float32() -> None:
    models = models_of(1)
    assert models.ood is not None
    tiny = replace(models.ood, variances=np.full_like(models.ood.variances, 1e-36))
    assert Stack.of(models.standardiser, models.probe, models.ood) is not None
    assert Stack.of(models.standardiser, models.probe, tiny) is None


@given(seed=st.integers(0, 10_000), kind=st.sampled_from(list(ProbeKind)))
def test_rows_show_what_each_shows_alone(seed: int, kind: ProbeKind) -> None:
    models = models_of(seed, kind=kind)
    states = states_of(models, rows=70)
    states[3, 2], states[69, 0] = np.nan, -np.inf
    lengths = np.arange(1.0, 71.0)
    columns = models.signal_columns(p_t=np.full(70, 0.5), hidden=states, tokens_in=lengths)
    for row, state in enumerate(states):
        seen = models.look(state, row + 1) or (np.nan, np.nan)
        assert columns["p_ik"][row] == pytest.approx(seen[0], abs=REPLAY_TOLERANCE, nan_ok=True)
        assert columns["ood"][row] == pytest.approx(seen[1], abs=REPLAY_TOLERANCE, nan_ok=True)
    assert np.isnan(columns["p_ik"]).nonzero()[0].tolist() == [3, 69]


@pytest.mark.parametrize("ood", [True, False])
@pytest.mark.parametrize("kind", list(ProbeKind))
@pytest.mark.parametrize("spread", [1e-4, 1.0, 1e4])  # where the squared length tells all, and where it tells nothing
def test_every_float16_that_is_not_finite_is_found_wherever_it_stands(
    kind: ProbeKind, ood: bool, spread: float
) -> None:
    models = models_of(3, kind=kind, ood=ood, spread=spread)
    state = states_of(models, rows=1)[0]
    assert models.look(state, 40) is not None
    rows = np.tile(state, (len(NOT_FINITE), 1))
    for row, value in enumerate(NOT_FINITE):
        rows[row, row % len(state)] = value
    assert all(models.look(row, 40) is None for row in rows)
    assert np.isnan(models.signal_columns(p_t=np.full(len(rows), 0.5), hidden=rows)["p_ik"]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dimension", [0, -1])
def test_weights_of_nought_hide_nothing(value: float, dimension: int) -> None:
    models = models_of(5)
    weight = np.zeros(models.document.dimension)
    assert isinstance(models.probe, LinearProbe)
    models = replace(models, probe=replace(models.probe, weight=weight))
    state = states_of(models, rows=1)[0]
    state[dimension] = value
    assert models.look(state, 40) is None
    assert np.isnan(models.signal_columns(p_t=np.ones(1), hidden=state[np.newaxis])["p_ik"]).all()


def test_the_largest_float16_is_finite_and_looked_at() -> None:
    models = models_of(9)
    for value in (65504.0, -65504.0):
        state = np.full(models.document.dimension, value, dtype=np.float16)
        seen = models.look(state, 40)
        assert seen is not None and seen[1] == 1.0


def test_models_in_which_float32_may_overflow_have_no_stack() -> None:
    models = models_of(11)
    assert Stack.of(models.standardiser, models.probe, models.ood) is not None
    tiny = replace(models.standardiser, scale=np.full(models.document.dimension, 1e-20))
    assert Stack.of(tiny, models.probe, models.ood) is None
    wide = replace(models, standardiser=replace(tiny, mean=np.zeros(models.document.dimension)))
    state = np.zeros(models.document.dimension, dtype=np.float16)
    assert wide.look(state, 40) is not None
    state[-1] = np.inf
    assert wide.look(state, 40) is None


def test_where_denormal_numbers_are_taken_for_nought_the_smallest_activations_still_count() -> None:
    torch = pytest.importorskip("torch")
    models = models_of(13, spread=1e-4)
    state = np.full(models.document.dimension, 2.0**-24, dtype=np.float16)
    state[::2] = -(2.0**-20)
    expected = models.look(state, 40)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor keeps denormal numbers")
    try:
        flushed = models.look(state, 40)
        state[0] = np.inf
        assert models.look(state, 40) is None
    finally:
        torch.set_flush_denormal(False)
    assert flushed == expected

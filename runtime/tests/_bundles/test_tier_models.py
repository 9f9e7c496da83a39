"""One tier's models at work: the fast path of serving is the slow path of the parts."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from knowgate._bundles.tier_models import REPLAY_TOLERANCE, TierModels
from knowgate._models.features import features, stored_vector
from knowgate._models.probe import ProbeKind
from knowgate.errors import RecordInvalid
from knowgate.policy import Policy, PolicyKind, decide

Make = Callable[..., TierModels]
RANDOM = np.random.default_rng(5)
HIDDEN = (RANDOM.normal(size=(60, 24)) * 1.4).astype(np.float32)
KINDS = pytest.mark.parametrize("kind", list(ProbeKind))


@KINDS
@pytest.mark.parametrize("ood", [True, False])
def test_serving_one_attempt_gives_the_signals_of_the_parts(tier_models: Make, kind: ProbeKind, ood: bool) -> None:
    models = tier_models(kind, ood=ood)
    for hidden in HIDDEN:
        signals = models.signals(p_t=0.8, hidden=hidden, tokens_in=70, entropy=0.4, slice="law")
        x = models.standardiser.apply(features(hidden))
        p_ik = models.document.ik_calibrator.probability(models.probe.logit(x))
        assert signals.p_ik == pytest.approx(p_ik, abs=REPLAY_TOLERANCE)
        percentile = models.ood.percentile(x, 70) if models.ood else None
        assert signals.ood == (None if percentile is None else pytest.approx(percentile, abs=REPLAY_TOLERANCE))
        assert models.document.score_model is not None
        score = models.document.score_model.score(p_t=0.8, p_ik=signals.p_ik, entropy=0.4, slice="law")
        assert signals.score == score


@KINDS
def test_serving_and_training_see_the_same_signals(tier_models: Make, kind: ProbeKind) -> None:
    models = tier_models(kind)
    n = len(HIDDEN)
    hidden = HIDDEN.copy()
    hidden[3, 5], hidden[4, 6] = np.nan, 1e6  # one missing, one that saturates
    p_t = RANDOM.uniform(size=n)
    p_t[7] = np.nan
    lengths = RANDOM.integers(1, 900, size=n).astype(float)
    lengths[8] = np.nan
    entropy = RANDOM.uniform(size=n)
    slices = [None, "law", "art"] * (n // 3)
    columns = models.signal_columns(p_t=p_t, hidden=hidden, tokens_in=lengths, entropy=entropy, slices=slices)
    for i in range(n):
        length = None if math.isnan(lengths[i]) else int(lengths[i])
        one = models.signals(p_t=p_t[i], hidden=hidden[i], tokens_in=length, entropy=entropy[i], slice=slices[i])
        for name in ("p_t", "p_ik", "score", "ood"):
            value = getattr(one, name)
            expected = math.nan if value is None else value
            assert columns[name][i] == pytest.approx(expected, abs=REPLAY_TOLERANCE, nan_ok=True), (name, i)
    assert np.isnan(columns["p_ik"]).nonzero()[0].tolist() == [3]
    assert np.isnan(columns["ood"]).nonzero()[0].tolist() == [3, 8]
    assert np.isnan(columns["score"]).nonzero()[0].tolist() == [3, 7]


@KINDS
def test_a_replay_from_the_stored_vector_is_exact(tier_models: Make, kind: ProbeKind) -> None:
    models = tier_models(kind)
    policy = Policy.of(PolicyKind.GATES, ({"p_ik": 0.5, "p_t": 0.5, "ood": 0.9},))
    for hidden in HIDDEN:
        served = models.signals(p_t=0.8, hidden=hidden, tokens_in=70, entropy=0.4)
        replayed = models.signals(p_t=0.8, hidden=stored_vector(hidden), tokens_in=70, entropy=0.4)
        assert replayed == served
        assert decide(policy, replayed) == decide(policy, served)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_state_that_is_not_finite_is_missing(tier_models: Make, value: float, kind: type) -> None:
    hidden = HIDDEN[0].astype(kind)
    hidden[2] = value
    signals = tier_models().signals(p_t=0.8, hidden=hidden, tokens_in=70, entropy=0.4)
    assert (signals.p_t, signals.p_ik, signals.score, signals.ood) == (0.8, None, None, None)


def test_a_large_activation_saturates_instead_of_going_missing(tier_models: Make) -> None:
    hidden = HIDDEN[0].copy()
    hidden[2] = 1e9
    signals = tier_models().signals(p_t=0.8, hidden=hidden, tokens_in=70)
    assert signals.p_ik is not None
    assert signals.ood == 1.0
    assert signals == tier_models().signals(p_t=0.8, hidden=stored_vector(hidden), tokens_in=70)


def test_without_a_hidden_state_only_p_t_is_there(tier_models: Make) -> None:
    signals = tier_models().signals(p_t=0.8, tokens_in=70, entropy=0.4)
    assert (signals.p_t, signals.p_ik, signals.score, signals.ood) == (0.8, None, None, None)


def test_before_generation_p_ik_is_there_without_p_t(tier_models: Make) -> None:
    signals = tier_models().signals(hidden=HIDDEN[0], tokens_in=70)
    assert signals.p_ik is not None
    assert signals.ood is not None
    assert (signals.p_t, signals.score) == (None, None)


@pytest.mark.parametrize("shape", [(23,), (1, 24), ()])
def test_a_state_of_another_shape_is_refused(tier_models: Make, shape: tuple[int, ...]) -> None:
    with pytest.raises(RecordInvalid, match="this tier reads"):
        tier_models().signals(hidden=np.zeros(shape, dtype=np.float32))
    with pytest.raises(RecordInvalid, match="this tier reads"):
        tier_models().signal_columns(p_t=np.zeros(1), hidden=np.zeros((1, 23), dtype=np.float32))


def test_no_rows_give_no_signals(tier_models: Make) -> None:
    columns = tier_models().signal_columns(p_t=np.zeros(0), hidden=np.zeros((0, 24), dtype=np.float32))
    assert {len(column) for column in columns.values()} == {0}


def test_models_that_do_not_fit_their_document_are_refused(tier_models: Make) -> None:
    models, larger = tier_models(), tier_models(dimension=30)
    for name in ("standardiser", "probe", "ood"):
        with pytest.raises(RecordInvalid, match=f"{name}.dimension is 30"):
            replace(models, **{name: getattr(larger, name)})
    with pytest.raises(RecordInvalid, match="the tier's document says linear"):
        replace(models, probe=tier_models(ProbeKind.MLP).probe)
    with pytest.raises(RecordInvalid, match="ood is False"):
        replace(models, ood=None)


@KINDS
def test_what_overflows_float32_is_the_same_alone_and_among_many(tier_models: Make, kind: ProbeKind) -> None:
    models = tier_models(kind)
    tiny = np.full(24, 1e-37, dtype=np.float32)
    models = replace(models, standardiser=replace(models.standardiser, scale=tiny, mean=np.zeros(24)))
    one = models.signals(p_t=0.8, hidden=HIDDEN[0], tokens_in=70, entropy=0.4)
    many = models.signal_columns(
        p_t=np.array([0.8]), hidden=HIDDEN[:1], tokens_in=np.array([70.0]), entropy=np.array([0.4])
    )
    for name in ("p_ik", "ood"):
        value = getattr(one, name)
        expected = math.nan if value is None else value
        assert many[name][0] == pytest.approx(expected, nan_ok=True)
    assert one.ood == 1.0

"""What the runtime benchmark times is whole decisions, nearly all of them retained, and the peers'
same probability.
"""

import numpy as np
import pytest

from benchmarks.runtime import timing
from benchmarks.runtime.cascade import DIMENSION, cascade_of, models_of
from knowgate import Action, ProbeKind

STATES = np.random.default_rng(0).normal(size=(timing.VECTORS, DIMENSION)).astype(np.float16)


@pytest.mark.parametrize("kind", list(ProbeKind))
def test_a_timed_call_is_a_whole_decision_with_every_gate(kind: ProbeKind) -> None:
    cascade = cascade_of(models_of(kind, STATES))
    decide = timing.decides(cascade, STATES)
    rulings = [decide(at) for at in range(timing.VECTORS)]
    assert all(len(ruling.verdict.gates) == 3 and ruling.note is None for ruling in rulings)
    assert all(gate.value is not None for ruling in rulings for gate in ruling.verdict.gates)
    assert sum(ruling.verdict.action is Action.RETAIN for ruling in rulings) > 0.9 * timing.VECTORS
    assert len({ruling.decision_id for ruling in rulings}) == timing.VECTORS
    kept = timing.verdicts_of(cascade)(STATES)
    assert list(kept) == [ruling.retained for ruling in rulings]  # type: ignore[call-overload]


def test_the_peers_compute_the_same_probability() -> None:
    models = models_of(ProbeKind.LINEAR, STATES)
    model = timing.sklearn_model(models)
    timing.require_same(models, model, STATES[0])
    expected = model.predict_proba(STATES.astype(np.float32))[:, 1]
    assert np.asarray(timing.torch_of(model)(STATES)).ravel() == pytest.approx(expected, abs=1e-5)
    assert models.signal_columns(p_t=np.ones(64), hidden=STATES)["p_ik"] == pytest.approx(expected, abs=1e-5)


def test_a_round_gives_the_percentiles_of_every_call() -> None:
    figures = timing.single_figures({"nothing": lambda at: at}, rounds=2, blocks=1)
    assert set(figures) == {"p10_us_nothing", "p50_us_nothing", "p99_us_nothing"}

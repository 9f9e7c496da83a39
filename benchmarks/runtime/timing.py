"""What one decision costs, beside what only computing the probability costs elsewhere.

One whole `Cascade.decide` (checks of every input, features, standardiser, probe, calibrator, an
out-of-distribution percentile with 16 components, a policy with three gates, an id, coins; no
spool) on a float16 vector of 4096 dimensions, another one for every call. Nearly all answers are
retained, which costs more than escalating, as the exploration coin is thrown too. Beside it, the
bare probability from the same weights: scikit-learn's `predict_proba`, a torch linear layer, an
MLflow pyfunc. All in one process on one thread, in blocks of calls in turn, so that all meet the
same weather; percentiles are over a round's calls, and each figure is the median over the rounds.

Batches are float16 rows too: ours gives all signals and the policy's verdict per row, the others
the probability. Importing is measured in fresh processes with compiled bytecode, as an installed
package has it.
"""

import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.runtime.cascade import COMPONENTS, DIMENSION, LENGTH, Half, cascade_of, models_of
from benchmarks.shape import FINGERPRINT, Figures, seconds_in_turn
from knowgate import Cascade, LinearProbe, Observation, ProbeKind, TierModels, retain_mask

VECTORS = 64  # as many states as are asked about in rotation
BLOCK = 50  # calls of one kind before the next kind's turn
BATCHES = (32, 1024)  # rows
IMPORT = "import time; {before}; began = time.perf_counter(); import {module}; print(time.perf_counter() - began)"
Call = Callable[[int], Any]
Predict = Callable[[Half], object]  # float16 rows [n, d]


def decides(cascade: Cascade, states: Half) -> Call:
    """One whole decision about the `at`-th state."""
    rows = [state.copy() for state in states]
    return lambda at: cascade.decide(Observation(p_t=0.95, hidden=rows[at], fingerprint=FINGERPRINT, tokens_in=LENGTH))


def sklearn_model(models: TierModels) -> Any:
    """scikit-learn's logistic regression with the probe's weights, the standardiser folded in."""
    from sklearn.linear_model import LogisticRegression

    assert isinstance(models.probe, LinearProbe)
    weight = models.probe.weight / models.standardiser.scale
    model = LogisticRegression()
    model.classes_ = np.array([0, 1])
    model.coef_ = weight[np.newaxis].astype(np.float64)
    model.intercept_ = np.array([models.probe.bias - float(weight @ models.standardiser.mean)])
    model.n_features_in_ = DIMENSION
    return model


def sklearn_of(model: Any) -> Predict:
    """Its probabilities of float16 rows."""
    return lambda rows: model.predict_proba(rows.astype(np.float32))


def torch_of(model: Any) -> Predict:
    """The same weights as a torch layer."""
    import torch

    torch.set_num_threads(1)
    layer = torch.nn.Linear(DIMENSION, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(model.coef_).float())
        layer.bias.copy_(torch.from_numpy(model.intercept_).float())

    def probabilities(rows: Half) -> object:
        with torch.inference_mode():
            return torch.sigmoid(layer(torch.from_numpy(rows).float())).tolist()

    return probabilities


def mlflow_of(model: Any, folder: Path) -> Predict:
    """The same model, saved and loaded again by MLflow."""
    import mlflow

    path = folder / "model"
    mlflow.sklearn.save_model(model, str(path), pyfunc_predict_fn="predict_proba", pip_requirements=["scikit-learn"])
    loaded = mlflow.pyfunc.load_model(str(path))
    return lambda rows: loaded.predict(rows.astype(np.float32))


def one_row(predict: Predict, states: Half) -> Call:
    """The probability of the `at`-th state."""
    rows = [state[np.newaxis].copy() for state in states]
    return lambda at: predict(rows[at])


def microseconds(calls: Sequence[Call], blocks: int) -> list[npt.NDArray[np.float64]]:
    """What each call took in one round, in blocks in turn."""
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(blocks):
        for call, times in zip(calls, taken, strict=True):
            gc.collect()
            call(0)
            for at in range(BLOCK):
                began = time.perf_counter_ns()
                call(at % VECTORS)
                times.append((time.perf_counter_ns() - began) / 1e3)
    return [np.array(times) for times in taken]


def single_figures(calls: Mapping[str, Call], rounds: int, blocks: int) -> dict[str, float]:
    """The percentiles of every call, each the median over the rounds."""
    measured = [microseconds(list(calls.values()), blocks) for _ in range(rounds)]
    return {
        f"p{percent}_us_{name}": statistics.median(float(np.percentile(one[at], percent)) for one in measured)
        for at, name in enumerate(calls)
        for percent in (10, 50, 99)
    }


def batch_figures(predicts: Mapping[str, Predict], states: Half, rounds: int) -> dict[str, float]:
    """Microseconds per row of a batch, for every size."""
    figures: dict[str, float] = {}
    for rows in BATCHES:
        batch = np.tile(states, (-(-rows // VECTORS), 1))[:rows]
        seconds = seconds_in_turn([partial(predict, batch) for predict in predicts.values()], rounds)
        figures |= {
            f"us_per_row_batch_{rows}_{name}": 1e6 * one / rows for name, one in zip(predicts, seconds, strict=True)
        }
    return figures


def import_ms(module: str, rounds: int, *, before: str = "pass") -> float:
    """The median time that importing `module` takes a fresh process which ran `before`; its
    bytecode is compiled.
    """
    command = [sys.executable, "-c", IMPORT.format(module=module, before=before)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    seconds = [
        float(subprocess.run(command, capture_output=True, check=True, env=environment).stdout)
        for _ in range(rounds + 1)  # the first one writes the bytecode
    ]
    return statistics.median(seconds[1:]) * 1e3


def verdicts_of(cascade: Cascade) -> Predict:
    """Signals and the policy's verdict of all rows."""
    assert cascade.pair is not None and cascade.pair.champion is not None
    bundle = cascade.pair.champion
    models, policy = bundle.tiers[0], bundle.document.policy
    assert models is not None

    def retained(rows: Half) -> object:
        n = len(rows)
        shown = models.signal_columns(p_t=np.full(n, 0.95), hidden=rows, tokens_in=np.full(n, float(LENGTH)))
        return retain_mask(policy, shown)

    return retained


def require_same(models: TierModels, model: Any, state: npt.NDArray[np.float16]) -> None:
    """Raises AssertionError where the peers do not compute our probability."""
    expected = models.signals(p_t=0.95, hidden=state, tokens_in=LENGTH).p_ik
    probability = float(model.predict_proba(state.astype(np.float32)[np.newaxis])[0, 1])
    if expected is None or abs(expected - probability) > 1e-4:
        raise AssertionError(f"the peers do not compute the same: {expected} and {probability}")


def measure(quick: bool) -> Figures:
    states = np.random.default_rng(0).normal(size=(VECTORS, DIMENSION)).astype(np.float16)
    linear, layered = (models_of(kind, states) for kind in (ProbeKind.LINEAR, ProbeKind.MLP))
    linear_cascade, layered_cascade = cascade_of(linear), cascade_of(layered)
    model = sklearn_model(linear)
    require_same(linear, model, states[0])
    rounds = 3 if quick else 9
    decide = decides(linear_cascade, states)
    with tempfile.TemporaryDirectory() as folder:
        peers = {
            "sklearn": sklearn_of(model),
            "torch": torch_of(model),
            "mlflow_pyfunc": mlflow_of(model, Path(folder)),
        }
        calls = {"linear_fp16": decide, "mlp_fp16": decides(layered_cascade, states)}
        calls |= {name: one_row(predict, states) for name, predict in peers.items()}
        single = single_figures(calls, rounds, blocks=3 if quick else 12)
        ours = {"linear": verdicts_of(linear_cascade), "mlp": verdicts_of(layered_cascade)}
        batches = batch_figures(ours | peers, states, rounds=9 if quick else 45)
    return {
        **single,
        "ratio_vs_sklearn": single["p50_us_sklearn"] / single["p50_us_linear_fp16"],
        **batches,
        "import_ms": import_ms("knowgate", rounds),
        "import_ms_numpy_safetensors": import_ms("numpy, safetensors.numpy", rounds),
        "import_ms_beyond_numpy_safetensors": import_ms("knowgate", rounds, before="import numpy, safetensors.numpy"),
        "retained_share": float(np.mean([decide(at).retained for at in range(VECTORS)])),
        "dimension": DIMENSION,
        "ood_components": COMPONENTS,
        "calls": rounds * BLOCK * (3 if quick else 12),
    }

"""What one decision costs, beside what only computing the probability costs elsewhere.

One whole `Cascade.decide` (checks of every input, float16 features, standardiser, probe, calibrator, an
out-of-distribution percentile with 16 components, a policy with three gates, coins; no spool) on a float16 vector of
4096 dimensions. Beside it, the bare probability from the same weights: scikit-learn's `predict_proba`, a torch linear
layer, an MLflow pyfunc. All in one process on one thread, in blocks of calls in turn, so that all meet the same
weather; percentiles are over calls.
"""

import gc
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.shape import Figures, run
from knowgate import (
    Assignment,
    BundleDocument,
    Cascade,
    Fingerprint,
    LinearProbe,
    MlpProbe,
    Mode,
    OodStatistics,
    Platt,
    Policy,
    PolicyKind,
    ProbeKind,
    Standardiser,
    TierDocument,
    TierModels,
    retain_mask,
    write_bundle,
)
from knowgate.pair import Pair

DIMENSION, COMPONENTS, HIDDEN_UNITS = 4096, 16, 64
VECTORS = 64  # as many states as are asked about in rotation
BLOCK = 50  # calls of one kind before the next kind's turn
IMPORT = "import time; began = time.perf_counter(); import {module}; print(time.perf_counter() - began)"
FINGERPRINT = Fingerprint(
    model="small",
    revision="main",
    dtype="bfloat16",
    engine="vllm",
    engine_version="1",
    chat_template_sha256="0" * 64,
    layer=20,
    position="last_prompt_token",
    normed=False,
)
Call = Callable[[int], object]
Half = npt.NDArray[np.float16]


def normal(random: np.random.Generator, *shape: int, scale: float = 1.0) -> npt.NDArray[np.float32]:
    """Normal numbers in float32."""
    return (random.normal(size=shape) * scale).astype(np.float32)


def cascade_of(kind: ProbeKind) -> tuple[Cascade, TierModels]:
    """A cascade with one probe of `kind` in force."""
    random = np.random.default_rng(7)
    document = TierDocument(
        fingerprint=FINGERPRINT,
        probe=kind,
        dimension=DIMENSION,
        ik_calibrator=Platt(slope=1.0, intercept=0.0),
        score_model=None,
        ood=True,
        validation_auroc=0.7,
    )
    linear = LinearProbe(weight=normal(random, DIMENSION, scale=1 / 64), bias=0.1)
    layers = MlpProbe(
        w1=normal(random, HIDDEN_UNITS, DIMENSION, scale=1 / 64),
        b1=normal(random, HIDDEN_UNITS),
        w2=normal(random, HIDDEN_UNITS, scale=1 / 8),
        b2=0.1,
    )
    models = TierModels(
        document=document,
        standardiser=Standardiser(
            mean=normal(random, DIMENSION), scale=random.uniform(0.5, 2, size=DIMENSION).astype(np.float32)
        ),
        probe=linear if kind is ProbeKind.LINEAR else layers,
        ood=OodStatistics(
            mean=normal(random, DIMENSION, scale=0.1),
            components=np.linalg.qr(normal(random, DIMENSION, COMPONENTS))[0].T,
            variances=np.full(COMPONENTS, 4.0, dtype=np.float32),
            residual_variance=1.0,
            length_slope=0.1,
            length_intercept=8.0,
            reference=np.linspace(-1.0, 2.0, 101, dtype=np.float32),
        ),
    )
    policy = Policy.of(
        PolicyKind.GATES,
        ({"p_ik": 0.5, "p_t": 0.9, "ood": 0.99},),
        fallback=Policy.of(PolicyKind.P_T, ({"p_t": 0.97},)),
    )
    now = datetime.now(UTC)
    bundle = write_bundle(
        BundleDocument(
            cascade="benchmark",
            models=("small", "large"),
            tiers=(document,),
            policy=policy,
            code_version="0",
            created_at=now,
            rows={"train": 1, "certify": 1},
        ),
        (models,),
    )
    assignment = Assignment(
        cascade="benchmark",
        generation=1,
        mode=Mode.ACTIVE,
        champion=bundle.id,
        challenger=None,
        exploration_rate=0.05,
        issued_at=now,
        valid_until=now + timedelta(days=1),
    )
    pair = Pair(assignment=assignment, champion=bundle, challenger=None)
    return Cascade("benchmark", pair, hash_key=bytes(32)), models


def decides(cascade: Cascade, states: Sequence[Half]) -> Call:
    """One whole decision about the `at`-th state."""
    return lambda at: cascade.decide(p_t=0.95, hidden=states[at], fingerprint=FINGERPRINT, tokens_in=100)


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


def torch_layer(model: Any, states: Sequence[Half]) -> Call:
    """The same weights as a torch layer."""
    import torch

    torch.set_num_threads(1)
    layer = torch.nn.Linear(DIMENSION, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(model.coef_).float())
        layer.bias.copy_(torch.from_numpy(model.intercept_).float())

    def probability(at: int) -> float:
        with torch.inference_mode():
            return float(torch.sigmoid(layer(torch.from_numpy(states[at]).float())))

    return probability


def mlflow_pyfunc(model: Any, states: Sequence[Half], folder: Path) -> Call:
    """The same model, saved and loaded again by MLflow."""
    import mlflow

    path = folder / "model"
    mlflow.sklearn.save_model(model, str(path), pyfunc_predict_fn="predict_proba", pip_requirements=["scikit-learn"])
    loaded = mlflow.pyfunc.load_model(str(path))
    rows = [state.astype(np.float32)[np.newaxis] for state in states]
    return lambda at: loaded.predict(rows[at])


def microseconds(calls: Sequence[Call], rounds: int) -> list[npt.NDArray[np.float64]]:
    """What each call took, in blocks in turn."""
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, times in zip(calls, taken, strict=True):
            gc.collect()
            call(0)
            for at in range(BLOCK):
                began = time.perf_counter_ns()
                call(at % VECTORS)
                times.append((time.perf_counter_ns() - began) / 1e3)
    return [np.array(times) for times in taken]


def rows_per_second(decide_all: Callable[[], object], rows: int, rounds: int) -> float:
    """The median rate of a batch."""
    taken = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        decide_all()
        taken.append(time.perf_counter() - began)
    return rows / statistics.median(taken[1:])


def import_ms(module: str, rounds: int) -> float:
    """The median time that importing `module` takes a fresh process."""
    command = [sys.executable, "-c", IMPORT.format(module=module)]
    seconds = [float(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(rounds)]
    return statistics.median(seconds) * 1e3


def decide_batch(models: TierModels, cascade: Cascade, states: Half) -> object:
    """Signals and gates of all rows."""
    assert cascade.pair is not None and cascade.pair.champion is not None
    n = len(states)
    signals = models.signal_columns(p_t=np.full(n, 0.95), hidden=states, tokens_in=np.full(n, 100.0))
    return retain_mask(cascade.pair.champion.document.policy, signals)


def measure(quick: bool) -> Figures:
    random = np.random.default_rng(0)
    states = [random.normal(size=DIMENSION).astype(np.float16) for _ in range(VECTORS)]
    rounds = 6 if quick else 60
    linear, models = cascade_of(ProbeKind.LINEAR)
    layered, _ = cascade_of(ProbeKind.MLP)
    model = sklearn_model(models)
    expected = models.signals(p_t=0.95, hidden=states[0], tokens_in=100).p_ik
    probability = float(model.predict_proba(states[0].astype(np.float32)[np.newaxis])[0, 1])
    if expected is None or abs(expected - probability) > 1e-4:
        raise AssertionError(f"the peers do not compute the same: {expected} and {probability}")
    with tempfile.TemporaryDirectory() as folder:
        calls = [
            decides(linear, states),
            decides(layered, states),
            lambda at: model.predict_proba(states[at].astype(np.float32)[np.newaxis]),
            torch_layer(model, states),
            mlflow_pyfunc(model, states, Path(folder)),
        ]
        ours, mlp, sklearn, torch, mlflow = microseconds(calls, rounds)
    batch = np.stack([states[at % VECTORS] for at in range(512 if quick else 4096)])
    turns = 3 if quick else 9
    return {
        "p50_us_linear_fp16": float(np.median(ours)),
        "p10_us_linear_fp16": float(np.percentile(ours, 10)),
        "p99_us_linear_fp16": float(np.percentile(ours, 99)),
        "p50_us_mlp_fp16": float(np.median(mlp)),
        "p99_us_mlp_fp16": float(np.percentile(mlp, 99)),
        "p50_us_sklearn": float(np.median(sklearn)),
        "p50_us_torch": float(np.median(torch)),
        "p50_us_mlflow_pyfunc": float(np.median(mlflow)),
        "ratio_vs_sklearn": float(np.median(sklearn) / np.median(ours)),
        "batch_rows_per_s": rows_per_second(partial(decide_batch, models, linear, batch), len(batch), turns),
        "batch_rows_per_s_sklearn": rows_per_second(lambda: model.predict_proba(batch), len(batch), turns),
        "import_ms": import_ms("knowgate", turns),
        "import_ms_numpy_safetensors": import_ms("numpy, safetensors.numpy", turns),
        "dimension": DIMENSION,
        "ood_components": COMPONENTS,
        "calls": len(ours),
    }


if __name__ == "__main__":
    run("runtime", measure)

"""Other ways to choose one threshold, on the same resamples: what certification is compared with.

- reference: the betting bound of Waudby-Smith & Ramdas (predictable plug-in bets), 60 quantiles, the same walk;
- plug-in: the boldest threshold on the way whose observed drop is at most ε, as cascade libraries do;
- Hoeffding: the observed drop plus sqrt(2·log(1/δ)/n), the same walk;
- MAPIE: its risk control with fixed-sequence testing, in an environment of its own (`KNOWGATE_MAPIE_PYTHON`).
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
REFERENCE_POINTS = 60
POINTS = 240


def grid(scores: FloatArray, points: int, least: float) -> FloatArray:
    """Thresholds from conservative to bold at even quantiles, `least` the first share retained."""
    return np.quantile(scores, 1 - np.linspace(least, 1, points))


def by_reference(scores: FloatArray, x: FloatArray, epsilon: float, delta: float) -> float | None:
    best = None
    for threshold in grid(scores, REFERENCE_POINTS, 0.02):
        if _log_capital((scores >= threshold) * x, epsilon, delta) < np.log(1 / delta):
            break
        best = float(threshold)
    return best


def by_plug_in(scores: FloatArray, x: FloatArray, epsilon: float, margin: float = 0.0) -> float | None:
    best = None
    for threshold in grid(scores, REFERENCE_POINTS, 0.02):
        if float(((scores >= threshold) * x).mean()) + margin > epsilon:
            break
        best = float(threshold)
    return best


def by_hoeffding(scores: FloatArray, x: FloatArray, epsilon: float, delta: float) -> float | None:
    return by_plug_in(scores, x, epsilon, float(np.sqrt(2 * np.log(1 / delta) / len(x))))


def by_mapie(scores: FloatArray, x: FloatArray, epsilon: float, delta: float) -> list[float | None] | None:
    """Thresholds for resamples [reps, n]; None where no environment with MAPIE is named."""
    python = os.environ.get("KNOWGATE_MAPIE_PYTHON")
    if not python:
        return None
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "samples.npz"
        thresholds = np.array([grid(row, POINTS, 1 / POINTS) for row in scores])
        np.savez(samples, scores=scores, harm=(x == 1.0), thresholds=thresholds, epsilon=epsilon, delta=delta)
        script = Path(__file__).with_name("certify_mapie.py")
        done = subprocess.run(
            [python, "-W", "ignore", str(script), str(samples)], capture_output=True, text=True, check=True
        )
    told: list[float | None] = json.loads(done.stdout)
    return told


def _log_capital(x: FloatArray, epsilon: float, delta: float) -> float:
    z, m, n = (1 - x) / 2, (1 - epsilon) / 2, len(x)
    i = np.arange(1, n + 1)
    mean = (0.5 + np.cumsum(z)) / (1 + i)
    variance = (0.25 + np.cumsum((z - mean) ** 2)) / (1 + i)
    before = np.concatenate([[0.25], variance[:-1]])
    bet = np.minimum(np.sqrt(2 * np.log(1 / delta) / (n * before)), 0.75 / m)
    return max(float(np.cumsum(np.log1p(bet * (z - m))).max()), 0.0)

"""Other ways to choose thresholds, on the same resamples: what certification is compared with.

- plug-in: the boldest candidate on the way whose observed drop is at most ε, as cascade libraries
  do;
- Hoeffding: the observed drop plus sqrt(2·log(1/δ)/n), the same walk;
- reference: the betting bound of Waudby-Smith & Ramdas (predictable plug-in bets), the same walk;
- MAPIE: its risk control with fixed-sequence testing, in an environment of its own
  (`KNOWGATE_MAPIE_PYTHON` names its Python). It counts 0s and 1s of one gate with equal weights, so
  chains and weighted rows are beyond it.

The first three walk 60 candidates, as the reference does, and MAPIE 240; ours walks its own 480.
Weighted rows count with A/π, which stretches the bounds by 1/π_min.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from knowgate._records.arrays import FloatArray
from knowgate.policy import Policy, PolicyKind, kept_tiers

REFERENCE_POINTS = 60
MAPIE_POINTS = 240
Choice = Policy | None  # None: everything escalates
Passes = Callable[[FloatArray], bool]


class Candidates:
    """Policies from conservative to bold, and what the rows [n] say of each; every chooser sees the
    same.
    """

    def __init__(self, policies: Sequence[Policy], losses: Callable[[Policy], FloatArray]) -> None:
        self.policies = tuple(policies)
        self._losses, self._seen = losses, list[FloatArray]()

    def boldest(self, passes: Passes) -> Choice:
        """The last policy before the first whose losses [n] do not pass."""
        good = list(takewhile(passes, self._in_turn()))
        return self.policies[len(good) - 1] if good else None

    def _in_turn(self) -> Iterator[FloatArray]:
        for at, policy in enumerate(self.policies):
            if at == len(self._seen):
                self._seen.append(self._losses(policy))
            yield self._seen[at]


def at_thresholds(thresholds: Sequence[float]) -> Policy:
    """The P(T) policy with one threshold per non-last tier."""
    return Policy.of(PolicyKind.P_T, tuple({"p_t": float(at)} for at in thresholds))


def kept_under(policy: Policy, p_t: FloatArray) -> npt.NDArray[np.int64]:
    """[n] the tier that each row of p_t [n, tiers − 1] is kept at."""
    return kept_tiers(policy, [{"p_t": column} for column in p_t.T])


def loss_under(policy: Policy, p_t: FloatArray, correct: FloatArray) -> FloatArray:
    """[n] X = correct_last − correct_kept; 0 where the last tier is kept, NaN where an outcome is
    unknown.
    """
    kept = kept_under(policy, p_t)
    lost = correct[:, -1] - correct[np.arange(len(correct)), kept]
    return np.where(kept == correct.shape[1] - 1, 0.0, lost)


def rival_path(p_t: FloatArray) -> list[Policy]:
    """The rivals' candidates: every tier's threshold at the same even quantile of p_t [n, tiers −
    1].
    """
    grids = [_grid(column, REFERENCE_POINTS, 0.02) for column in p_t.T]
    return [at_thresholds(at) for at in zip(*grids, strict=True)]


def passes_plug_in(epsilon: float) -> Passes:
    return lambda x: float(x.mean()) <= epsilon


def passes_hoeffding(epsilon: float, delta: float, bound: float = 1.0) -> Passes:
    return lambda x: float(x.mean()) + bound * float(np.sqrt(2 * np.log(1 / delta) / len(x))) <= epsilon


def passes_reference(epsilon: float, delta: float, bound: float = 1.0) -> Passes:
    return lambda x: _log_capital(x / bound, epsilon / bound, delta) >= np.log(1 / delta)


def rivals(epsilon: float, delta: float, bound: float = 1.0) -> dict[str, Passes]:
    """By name, whether losses [n] in [−bound, bound] let a candidate pass."""
    return {
        "reference": passes_reference(epsilon, delta, bound),
        "plug_in": passes_plug_in(epsilon),
        "hoeffding": passes_hoeffding(epsilon, delta, bound),
    }


def by_mapie(scores: FloatArray, x: FloatArray, epsilon: float, delta: float) -> list[Choice] | None:
    """Choices on resamples [reps, n] of one gate; None where no environment with MAPIE is named."""
    python = os.environ.get("KNOWGATE_MAPIE_PYTHON")
    if not python:
        return None
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "samples.npz"
        thresholds = np.array([_grid(row, MAPIE_POINTS, 1 / MAPIE_POINTS) for row in scores])
        np.savez(samples, scores=scores, harm=(x == 1.0), thresholds=thresholds, epsilon=epsilon, delta=delta)
        script = Path(__file__).with_name("with_mapie.py")
        done = subprocess.run(
            [python, "-W", "ignore", str(script), str(samples)], capture_output=True, text=True, check=True
        )
    controlled: list[float | None] = json.loads(done.stdout)
    return [None if at is None else at_thresholds([at]) for at in controlled]


def _grid(scores: FloatArray, points: int, least: float) -> FloatArray:
    """Thresholds from conservative to bold at even quantiles, `least` the first share retained."""
    return np.quantile(scores, 1 - np.linspace(least, 1, points))


def _log_capital(x: FloatArray, epsilon: float, delta: float) -> float:
    z, m, n = (1 - x) / 2, (1 - epsilon) / 2, len(x)
    i = np.arange(1, n + 1)
    mean = (0.5 + np.cumsum(z)) / (1 + i)
    variance = (0.25 + np.cumsum((z - mean) ** 2)) / (1 + i)
    before = np.concatenate([[0.25], variance[:-1]])
    bet = np.minimum(np.sqrt(2 * np.log(1 / delta) / (n * before)), 0.75 / m)
    return max(float(np.cumsum(np.log1p(bet * (z - m))).max()), 0.0)

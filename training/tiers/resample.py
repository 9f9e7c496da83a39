"""What a score's calibrator might as well have been: it is fitted again to resamples of its rows.

Decisions:
- Whole prompts are drawn, not rows: two rows of one prompt tell less than two of two.
- Each resample gets a monotone curve, also where the calibrator in force is Platt's: what a sigmoid
  cannot follow is then part of the error. With the same kind of calibrator 95 % intervals covered
  .81 where the truth had another shape (docs/log.md).
- The refits are kept at up to 33 scores, the quantiles of the rows: kilobytes, whatever the number
  of rows.
"""

import numpy as np

from evidence.signals.score_fit import FEWEST_ROWS, SignalRows
from knowgate._models.resampled import ResampledScores
from knowgate._models.score import ScoreModel
from knowgate._records.arrays import FloatArray, IntArray
from training.tiers.calibrate import fit_isotonic, fit_platt

RESAMPLES = 100
SCORES_KEPT = 33
SEED = 20_260_301  # the same rows give the same bundle


def resampled_scores(model: ScoreModel, rows: SignalRows, prompts: tuple[str, ...]) -> ResampledScores | None:
    """Refits of the model's calibrator to resamples of the rows [n] that it was fitted to.

    `prompts` [n] says which rows belong together. None where too few rows have a score.
    """
    sums = model.sums(p_t=rows.p_t, p_ik=rows.p_ik, entropy=rows.entropy, margin=rows.margin, slices=rows.slices)
    known = np.isfinite(sums) & np.isfinite(rows.y)
    if known.sum() < FEWEST_ROWS:
        return None
    sums, y, weight = sums[known], rows.y[known], rows.weight[known]
    prompt = np.unique(np.array(prompts)[known], return_inverse=True)[1]
    grid = np.unique(np.quantile(sums, np.linspace(0.0, 1.0, SCORES_KEPT)))
    at, first = np.unique(model.calibrator.probabilities(grid).astype(np.float32), return_index=True)
    random = np.random.default_rng(SEED)
    refits = [_refit(sums, y, weight, _drawn(prompt, random), grid[first]) for _ in range(RESAMPLES)]
    return ResampledScores(at=at, refits=np.array(refits, dtype=np.float32))


def _drawn(prompt: IntArray, random: np.random.Generator) -> IntArray:
    """The rows of as many prompts as there are, drawn with replacement."""
    prompts = int(prompt.max()) + 1
    times = np.bincount(random.integers(prompts, size=prompts), minlength=prompts)
    return np.repeat(np.arange(len(prompt)), times[prompt])


def _refit(sums: FloatArray, y: FloatArray, weight: FloatArray, drawn: IntArray, at: FloatArray) -> FloatArray:
    rows = sums[drawn], y[drawn], weight[drawn]
    return (fit_isotonic(*rows) or fit_platt(*rows)).probabilities(at)

"""One score from all that a tier shows: a ridge logistic regression, for training and for outcome
tables.

- The signals are logit P(T), logit P(IK) where any row has one, and a shrunk offset for each slice
  of at least 30 rows.
- Entropy and margin enter only where practically all rows have them, since a row without one has no
  score.
- A margin says much of what P(T) and entropy say already, so it enters only where it helps: where
  it lowers the cross-validated log-loss by more than one standard error of the gain.

What comes out is not calibrated: other rows may do that.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from evidence.inputs import BoolArray, FloatArray
from evidence.signals.ridge_logistic import ridge_logistic
from knowgate._models.calibrator import Platt
from knowgate._models.logistic import logits
from knowgate._models.score import ScoreModel

FEWEST_ROWS = 30  # labelled, that teach a score; also of a slice with its own offset
SIGNAL_RIDGE = 1.0  # prior precision of a standardised signal's weight
SLICE_RIDGE = 10.0  # of a slice's offset
SIGNAL_KNOWN = 0.99  # share of the rows, for entropy and margin
FOLDS = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SignalRows:
    """What one tier showed, and whether it was right."""

    p_t: FloatArray  # [n] in [0, 1], NaN = missing
    p_ik: FloatArray  # [n]
    entropy: FloatArray  # [n] nats
    margin: FloatArray  # [n] in [0, 1]
    slices: tuple[str | None, ...]  # [n]
    y: FloatArray  # [n] in [0, 1], NaN = not labelled
    weight: FloatArray = field(default_factory=lambda: np.empty(0))  # [n]; empty = all 1

    def __post_init__(self) -> None:
        if self.weight.size == 0:
            object.__setattr__(self, "weight", np.ones(len(self.y)))


def fit_score(rows: SignalRows) -> ScoreModel | None:
    """The weights of the signals that are worth one; None where too few labelled rows
    have those.
    """
    used = {"p_t": logits(rows.p_t)}
    if np.isfinite(rows.p_ik).any():
        used["p_ik"] = logits(rows.p_ik)
    shown, labelled = _shown(used), np.isfinite(rows.y)
    for name in ("entropy", "margin"):
        values: FloatArray = getattr(rows, name)
        known = shown & np.isfinite(values)
        if known.sum() < SIGNAL_KNOWN * max(1, shown.sum()) or np.ptp(values[known]) == 0:
            continue
        wider = used | {name: values}
        if name == "entropy" or _helps(rows, used, wider, known & labelled):
            used = wider
    taught = _shown(used) & labelled
    if taught.sum() < FEWEST_ROWS:
        return None
    named = Counter(name for name, keep in zip(rows.slices, taught, strict=True) if keep)
    slices = sorted(name for name, count in named.items() if name is not None and count >= FEWEST_ROWS)
    weights, by_slice, intercept = _weights(rows, used, taught, slices)
    return ScoreModel(
        w_p_t=weights["p_t"],
        w_p_ik=weights.get("p_ik", 0.0),
        w_entropy=weights.get("entropy", 0.0),
        w_margin=weights.get("margin", 0.0),
        intercept=intercept,
        slices=by_slice,
        calibrator=Platt(slope=1.0, intercept=0.0),
    )


def _shown(used: dict[str, FloatArray]) -> BoolArray:
    return np.asarray(np.isfinite(list(used.values())).all(axis=0), dtype=np.bool_)


def _weights(
    rows: SignalRows, used: dict[str, FloatArray], taught: BoolArray, slices: list[str]
) -> tuple[dict[str, float], dict[str, float], float]:
    """Weights of the signals, offsets of the slices, intercept, fitted on the rows `taught` [n]."""
    signals = np.column_stack([values[taught] for values in used.values()])
    centre, spread = signals.mean(axis=0), signals.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    named = np.array(rows.slices, dtype=object)[taught]
    offsets = (named[:, None] == np.array(slices, dtype=object)).astype(np.float64)
    design = np.column_stack([np.ones(len(signals)), (signals - centre) / spread, offsets])
    ridge = np.concatenate([[0.0], np.full(len(used), SIGNAL_RIDGE), np.full(len(slices), SLICE_RIDGE)])
    beta = ridge_logistic(design, rows.y[taught], rows.weight[taught], ridge)
    weights, by_slice = beta[1 : 1 + len(used)] / spread, beta[1 + len(used) :].tolist()
    return (
        dict(zip(used, weights.tolist(), strict=True)),
        dict(zip(slices, by_slice, strict=True)),
        float(beta[0] - weights @ centre),
    )


def _helps(rows: SignalRows, used: dict[str, FloatArray], wider: dict[str, FloatArray], kept: BoolArray) -> bool:
    """Whether the wider signals lower the log-loss of rows that did not fit it, by more than a
    standard error.
    """
    if kept.sum() < FEWEST_ROWS:
        return False
    gain = (_unseen_losses(rows, used, kept) - _unseen_losses(rows, wider, kept)) * rows.weight[kept]
    return bool(gain.mean() > gain.std() / np.sqrt(len(gain)))


def _unseen_losses(rows: SignalRows, used: dict[str, FloatArray], kept: BoolArray) -> FloatArray:
    """[kept rows] nats, each row under a fit to the other folds."""
    places = np.flatnonzero(kept)
    losses = np.empty(len(places))
    for fold in range(FOLDS):
        judged = np.arange(len(places)) % FOLDS == fold
        taught = np.zeros(len(kept), dtype=np.bool_)
        taught[places[~judged]] = True
        weights, _, intercept = _weights(rows, used, taught, [])
        at = places[judged]
        eta = intercept + sum(weights[name] * values[at] for name, values in used.items())
        losses[judged] = np.logaddexp(0.0, eta) - rows.y[at] * eta
    return losses

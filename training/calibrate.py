"""From raw logits to probabilities, and from all signals to one score; fitted on rows that taught the probe nothing.

Decisions:
- Platt scaling while labels are few, isotonic regression from 1000 on: a free curve through a few hundred labels
  follows their noise. Platt's targets are smoothed as in his paper, so that no probability is 0 or 1.
- Isotonic regression runs over bins of at least ten rows, whose means become the knots; values stay off 0 and 1 by
  half a row, because their logits enter the score.
- The score is a ridge logistic regression on (logit p_t, logit p_ik, entropy, margin, slice). Its weights come from the
  validation rows and its calibrator from the calibration rows. A slice needs 30 rows for an offset of its own,
  which is shrunk; entropy and margin enter only where practically all rows have them, since a row without one has
  no score.
- A margin says much of what P(T) and entropy say already, so it enters only where it helps: where it lowers the
  cross-validated log-loss on the validation rows.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from evidence.ridge_logistic import ridge_logistic as _ridge_logistic
from knowgate.calibrator import Calibrator, Isotonic, Platt
from knowgate.logistic import logits as logits_of
from knowgate.score import ScoreModel
from training.errors import TrainingRefused

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
ISOTONIC_FROM = 1000  # labels
ROWS_PER_BIN = 10
ROWS_PER_SLICE = 30
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
    y: FloatArray  # [n] in [0, 1]
    weight: FloatArray = field(default_factory=lambda: np.empty(0))  # [n]; empty = all 1

    def __post_init__(self) -> None:
        if self.weight.size == 0:
            object.__setattr__(self, "weight", np.ones(len(self.y)))


def fit_calibrator(logits: FloatArray, y: FloatArray, weight: FloatArray | None = None) -> Calibrator:
    """The calibrator of n raw logits with labels in [0, 1]: Platt below 1000 labels, isotonic from there.

    Raises TrainingRefused without rows or for a logit that is not finite.
    """
    weight = np.ones(len(y)) if weight is None else weight
    if len(y) == 0 or not np.isfinite(logits).all() or not np.isfinite(y).all():
        raise TrainingRefused(f"{len(y)} rows to calibrate on, all must be finite: leave unlabelled rows out")
    if len(y) < ISOTONIC_FROM:
        return fit_platt(logits, y, weight)
    return fit_isotonic(logits, y, weight) or fit_platt(logits, y, weight)


def fit_platt(logits: FloatArray, y: FloatArray, weight: FloatArray) -> Platt:
    """Slope and intercept by penalised maximum likelihood with smoothed targets (Platt 1999; Lin, Lin and Weng 2007).

    A slope that would be negative becomes 0: the probability is then the base rate.
    """
    right, wrong = float((weight * y).sum()), float((weight * (1 - y)).sum())
    high, low = (right + 1) / (right + 2), 1 / (wrong + 2)
    targets = low + (high - low) * y
    centre, spread = float(np.average(logits, weights=weight)), float(logits.std()) or 1.0
    z = (logits - centre) / spread
    beta = _ridge_logistic(np.column_stack([np.ones(len(z)), z]), targets, weight, np.array([0.0, 1e-3]))
    if beta[1] < 0:
        rate = (right + 1) / (right + wrong + 2)
        return Platt(slope=0.0, intercept=float(np.log(rate / (1 - rate))))
    slope = float(beta[1] / spread)
    return Platt(slope=slope, intercept=float(beta[0] - slope * centre))


def fit_isotonic(logits: FloatArray, y: FloatArray, weight: FloatArray) -> Isotonic | None:
    """A monotone curve through bin means; None where the logits take fewer than two distinct values."""
    order = np.argsort(logits, kind="stable")
    logits, y, weight = logits[order], y[order], weight[order]
    bins = max(2, min(200, len(y) // ROWS_PER_BIN))
    starts = np.unique(np.searchsorted(logits, logits[(np.arange(bins) * len(y)) // bins], side="left"))
    mass = np.add.reduceat(weight, starts)
    knots = np.add.reduceat(weight * logits, starts) / mass
    means = np.add.reduceat(weight * y, starts) / mass
    fitted = isotonic_regression(means, weights=mass)
    blocks = np.asarray(fitted.blocks)[:-1]
    block_mass = np.add.reduceat(mass, blocks)
    block_knots = np.add.reduceat(mass * knots, blocks) / block_mass
    if len(blocks) < 2 or not (np.diff(block_knots) > 0).all():
        return None
    edge = 0.5 / (len(y) + 1)
    values = np.clip(np.asarray(fitted.x)[blocks], edge, 1 - edge)
    return Isotonic(knots=tuple(block_knots.tolist()), values=tuple(values.tolist()))


def fit_score(validation: SignalRows, calibration: SignalRows) -> ScoreModel | None:
    """One calibrated probability from all signals; None where too few rows have both p_t and p_ik."""
    teach, check = _complete(validation), _complete(calibration)
    if teach.sum() < ROWS_PER_SLICE or check.sum() < ROWS_PER_SLICE:
        return None
    used: tuple[str, ...] = ("p_t", "p_ik")
    for name in ("entropy", "margin"):
        columns = [(getattr(validation, name), teach), (getattr(calibration, name), check)]
        if any(np.isfinite(column[kept]).mean() < SIGNAL_KNOWN for column, kept in columns):
            continue
        wider = [kept & np.isfinite(column) for column, kept in columns]
        if name == "margin" and not _helps(validation, wider[0], used, name):
            continue
        used, (teach, check) = (*used, name), wider
    slices = _slices([name for name, kept in zip(validation.slices, teach, strict=True) if kept])
    weights, by_slice, intercept = _fit_weights(validation, teach, used, slices)
    total = intercept + _signals(calibration, check, used) @ weights + _offsets(calibration, check, slices) @ by_slice
    weight_of = dict(zip(used, weights.tolist(), strict=True))
    return ScoreModel(
        w_p_t=weight_of["p_t"],
        w_p_ik=weight_of["p_ik"],
        w_entropy=weight_of.get("entropy", 0.0),
        w_margin=weight_of.get("margin", 0.0),
        intercept=intercept,
        slices=dict(zip(slices, by_slice.tolist(), strict=True)),
        calibrator=fit_calibrator(total, calibration.y[check], calibration.weight[check]),
    )


def _fit_weights(
    rows: SignalRows, kept: BoolArray, used: tuple[str, ...], slices: list[str]
) -> tuple[FloatArray, FloatArray, float]:
    """Weights of the signals [used], offsets of the slices, intercept."""
    signals = _signals(rows, kept, used)
    centre, spread = signals.mean(axis=0), signals.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    design = np.column_stack([np.ones(len(signals)), (signals - centre) / spread, _offsets(rows, kept, slices)])
    ridge = np.concatenate([[0.0], np.full(len(centre), SIGNAL_RIDGE), np.full(len(slices), SLICE_RIDGE)])
    beta = _ridge_logistic(design, rows.y[kept], rows.weight[kept], ridge)
    weights, by_slice = beta[1 : 1 + len(centre)] / spread, beta[1 + len(centre) :]
    return weights, by_slice, float(beta[0] - weights @ centre)


def _helps(rows: SignalRows, kept: BoolArray, used: tuple[str, ...], extra: str) -> bool:
    """Whether `extra` lowers the log-loss of rows that did not fit it, by more than one standard error of the gain."""
    losses = [_held_out_losses(rows, kept, names) for names in (used, (*used, extra))]
    gain = (losses[0] - losses[1]) * rows.weight[kept]
    return bool(gain.mean() > gain.std() / np.sqrt(len(gain)))


def _held_out_losses(rows: SignalRows, kept: BoolArray, used: tuple[str, ...]) -> FloatArray:
    """[kept rows] nats, each row under a fit to the other folds."""
    places = np.flatnonzero(kept)
    signals = _signals(rows, kept, used)
    losses = np.empty(len(places))
    for fold in range(FOLDS):
        held = np.arange(len(places)) % FOLDS == fold
        teach = np.zeros(len(kept), dtype=np.bool_)
        teach[places[~held]] = True
        weights, _, intercept = _fit_weights(rows, teach, used, [])
        eta = signals[held] @ weights + intercept
        losses[held] = np.logaddexp(0.0, eta) - rows.y[places[held]] * eta
    return losses


def _complete(rows: SignalRows) -> BoolArray:
    return np.isfinite(rows.p_t) & np.isfinite(rows.p_ik) & np.isfinite(rows.y)


def _slices(names: Sequence[str | None]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if name is not None and count >= ROWS_PER_SLICE)


def _signals(rows: SignalRows, kept: BoolArray, used: tuple[str, ...]) -> FloatArray:
    """[n, used] on the axes on which the score adds them up."""
    columns = {name: getattr(rows, name)[kept] for name in used}
    return np.column_stack([logits_of(c) if name in ("p_t", "p_ik") else c for name, c in columns.items()])


def _offsets(rows: SignalRows, kept: BoolArray, slices: list[str]) -> FloatArray:
    """[n, slices] 1 where a row belongs to the slice."""
    names = np.array([name or "" for name, keep in zip(rows.slices, kept, strict=True) if keep])
    return np.array([names == name for name in slices], dtype=np.float64).reshape(len(slices), len(names)).T

"""One tier's models at work: signals in, one `Signals` out, in a few microseconds.

A hidden state meets one matrix: the probe's first layer and the OOD components lie stacked, and the standardiser and
the OOD mean are one subtraction before it. `signals` serves one attempt; `signal_columns` does the same for arrays,
in training, certification and simulation. The two differ by float32 rounding only, because the sums of one row and of
many are ordered differently; `REPLAY_TOLERANCE` bounds what that, or another machine, may change.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from knowgate.arrays import BoolArray, Float32Array, FloatArray, own_float32
from knowgate.bundle_documents import TierDocument
from knowgate.construction import signals
from knowgate.errors import RecordInvalid
from knowgate.features import FLOAT16_LARGEST, Standardiser, features, widened
from knowgate.ood import OodStatistics
from knowgate.probe import MlpProbe, Probe
from knowgate.records import Signals

# The most by which a replayed p_ik, score or ood may differ between machines, or between `signals` and
# `signal_columns`: float32 products are summed in another order there.
REPLAY_TOLERANCE = 1e-5
ROWS_AT_ONCE = 64  # a megabyte of float32 at 4096 dimensions: what one step wrote, the next finds in the cache
FLOAT32_SAFE = 1e36  # float32 reaches 3.4e38; sums may be rounded on the way


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Stack:
    """The first linear step of all models of a tier, as one matrix-vector product."""

    inverse_scale: Float32Array  # [d]
    shift: Float32Array  # [d], in standardised units
    matrix: Float32Array  # [h + k, d]: the probe's first layer, then the OOD components
    width: int  # h
    probe: Probe  # for states that lack the OOD mean
    bounded: bool  # no float16 state can overflow float32 anywhere in these models

    @classmethod
    def of(cls, standardiser: Standardiser, probe: Probe, ood: OodStatistics | None) -> "_Stack":
        mean = standardiser.mean.astype(np.float64)
        scale = standardiser.scale.astype(np.float64)
        centre = np.zeros_like(mean) if ood is None else ood.mean.astype(np.float64)
        first = probe.first_layer
        shift = mean / scale + centre
        matrix = first if ood is None else np.concatenate([first, ood.components])
        return cls(
            inverse_scale=own_float32("1 / standardiser.scale", 1 / scale, (None,)),
            shift=own_float32("standardiser.mean / scale + ood.mean", shift, (None,)),
            matrix=matrix,
            width=len(first),
            probe=probe.shifted(centre),
            bounded=_is_bounded(FLOAT16_LARGEST / scale + np.abs(shift), matrix, probe, ood),
        )


def _is_bounded(largest: FloatArray, matrix: Float32Array, probe: Probe, ood: OodStatistics | None) -> bool:
    """Whether float32 holds every intermediate result for states of at most `largest` [d] in standardised units."""
    product = float((np.abs(matrix.astype(np.float64)) @ largest).max())
    reached = [float(largest @ largest), product]
    if isinstance(probe, MlpProbe):
        reached.append(float(np.abs(probe.w2).sum(dtype=np.float64)) * (product + float(np.abs(probe.b1).max())))
    if ood is not None:
        reached.append(len(ood.components) * product**2 / min(1.0, float(ood.variances.min())))
    return max(reached) < FLOAT32_SAFE


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TierModels:
    """The models of one non-last tier: everything between a hidden state and its signals."""

    document: TierDocument
    standardiser: Standardiser
    probe: Probe
    ood: OodStatistics | None = None
    _stack: _Stack = field(init=False, repr=False)

    def __post_init__(self) -> None:
        wanted = self.document.dimension
        held = [("standardiser", self.standardiser.dimension), ("probe", self.probe.dimension)]
        if self.ood is not None:
            held.append(("ood", self.ood.dimension))
        for name, dimension in held:
            if dimension != wanted:
                raise RecordInvalid(f"{name}.dimension", dimension, f"the tier's document says {wanted}")
        if self.probe.kind is not self.document.probe:
            raise RecordInvalid("probe", self.probe.kind.value, f"the tier's document says {self.document.probe}")
        if (self.ood is not None) != self.document.ood:
            raise RecordInvalid("ood", self.ood is not None, f"the tier's document says {self.document.ood}")
        object.__setattr__(self, "_stack", _Stack.of(self.standardiser, self.probe, self.ood))

    def signals(
        self,
        *,
        p_t: float | None = None,
        hidden: npt.NDArray[np.floating] | None = None,
        tokens_in: int | None = None,
        entropy: float | None = None,
        margin: float | None = None,
        slice: str | None = None,
    ) -> Signals:
        """The signals of one attempt.

        `hidden` is [d], of the document's fingerprint (the caller compares); `entropy` in nats. What cannot be computed
        is None: p_ik and ood without a finite `hidden`, ood without `tokens_in`, score without p_t or p_ik.
        Raises RecordInvalid for a hidden state of another shape, or a p_t outside [0, 1].
        """
        if hidden is not None and hidden.shape != (self.document.dimension,):
            raise RecordInvalid("hidden.shape", hidden.shape, f"this tier reads [{self.document.dimension}]")
        x = features(hidden) if hidden is not None and np.isfinite(hidden).all() else None
        return self.signals_of(x, p_t=p_t, tokens_in=tokens_in, entropy=entropy, margin=margin, slice=slice)

    def signals_of(
        self,
        x: Float32Array | None,
        *,
        p_t: float | None,
        tokens_in: int | None,
        entropy: float | None,
        margin: float | None,
        slice: str | None,
    ) -> Signals:
        """`signals` from `features(hidden)`, [d] of the document's dimension and finite; None = missing."""
        p_ik: float | None = None
        ood: float | None = None
        if x is not None:
            logit, ood = self._look(x, tokens_in)
            p_ik = self.document.ik_calibrator.probability(logit) if math.isfinite(logit) else None
        model = self.document.score_model
        score = None if model is None else model.score(p_t=p_t, p_ik=p_ik, entropy=entropy, margin=margin, slice=slice)
        return signals(p_t, p_ik, score, ood)

    def _look(self, x: Float32Array, tokens_in: int | None) -> tuple[float, float | None]:
        """The probe's logit (not finite where float32 overflows for good) and the OOD percentile of one state."""
        if self._stack.bounded:
            logit, statistic = self._multiply(x, tokens_in)
        else:
            with np.errstate(all="ignore"):
                logit, statistic = self._multiply(x, tokens_in)
                if not math.isfinite(logit) or (statistic is not None and not math.isfinite(statistic)):
                    return self._look_at_large(x, tokens_in)
        return logit, None if statistic is None or self.ood is None else self.ood.rank(statistic)

    def _multiply(self, x: Float32Array, tokens_in: int | None) -> tuple[float, float | None]:
        """The probe's logit and the OOD statistic from one matrix-vector product."""
        stack = self._stack
        centred = x * stack.inverse_scale
        centred -= stack.shift
        products = stack.matrix.dot(centred)
        if self.ood is None:
            return stack.probe.finish(products), None
        square = float(centred.dot(centred))
        return stack.probe.finish(products), self.ood.finish(products[stack.width :], square, tokens_in)

    def _look_at_large(self, x: Float32Array, tokens_in: int | None) -> tuple[float, float | None]:
        """`_look` where float32 overflows once states are centred: standardised first, as arrays are."""
        standardised = self.standardiser.apply(x)[np.newaxis]
        logit = float(self.probe.logits(standardised)[0])
        if self.ood is None or tokens_in is None:
            return logit, None
        statistic = float(self.ood.statistics(standardised, np.array([float(tokens_in)]))[0])
        return logit, self.ood.rank(statistic) if math.isfinite(statistic) else None

    def _look_at_rows(
        self, hidden: npt.NDArray[np.floating], tokens_in: FloatArray | None
    ) -> tuple[FloatArray, FloatArray]:
        """p_ik and ood of states [n, d], NaN where missing."""
        p_ik, ood = np.full(len(hidden), np.nan), np.full(len(hidden), np.nan)
        present, held = _present(hidden)
        x = self.standardiser.apply(held)
        p_ik[present] = self.document.ik_calibrator.probabilities(_finite(self.probe.logits(x)))
        if self.ood is not None and tokens_in is not None:
            ood[present] = self.ood.ranks(_finite(self.ood.statistics(x, tokens_in[present])))
        return p_ik, ood

    def signal_columns(
        self,
        *,
        p_t: FloatArray,
        hidden: npt.NDArray[np.floating],
        tokens_in: FloatArray | None = None,
        entropy: FloatArray | None = None,
        margin: FloatArray | None = None,
        slices: Sequence[str | None] | None = None,
    ) -> dict[str, FloatArray]:
        """`signals` of n attempts, by gate name, each [n] with NaN where missing: what `retain_mask` takes.

        `hidden` is [n, d]; a row that holds anything not finite is a missing hidden state.
        """
        if hidden.ndim != 2 or hidden.shape[1] != self.document.dimension:
            raise RecordInvalid("hidden.shape", hidden.shape, f"this tier reads [n, {self.document.dimension}]")
        n = len(hidden)
        p_ik, ood = np.full(n, np.nan), np.full(n, np.nan)
        with np.errstate(all="ignore"):  # what overflows is not finite, and counts as missing
            for start in range(0, n, ROWS_AT_ONCE):
                rows = slice(start, start + ROWS_AT_ONCE)
                lengths = None if tokens_in is None else tokens_in[rows]
                p_ik[rows], ood[rows] = self._look_at_rows(hidden[rows], lengths)
        columns = {"p_t": p_t, "p_ik": p_ik, "ood": ood, "score": np.full(n, np.nan)}
        if self.document.score_model is not None:
            columns["score"] = self.document.score_model.scores(
                p_t=p_t, p_ik=p_ik, entropy=entropy, margin=margin, slices=slices
            )
        return columns


def _present(hidden: npt.NDArray[np.floating]) -> tuple[BoolArray, Float32Array]:
    """Which rows of states [n, d] are finite, and the features of those."""
    wide = widened(hidden) if hidden.dtype == np.float16 else hidden
    present: BoolArray = np.logical_and.reduce(np.isfinite(wide), axis=1)
    held = wide if present.all() else wide[present]
    # What was float16 and is finite is its features already.
    return present, held if wide is not hidden else features(held)


def _finite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, np.nan)

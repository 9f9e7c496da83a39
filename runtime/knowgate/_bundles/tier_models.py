"""One tier's models at work: signals in, one `Signals` out, in a few microseconds.

A hidden state meets one matrix: the probe's first layer and the OOD components lie stacked, and the
standardiser and the OOD mean are one subtraction before it. `signals` serves one attempt;
`signal_columns` does the same for arrays, in training, certification and simulation. The two differ
by float32 rounding only, because the sums of one row and of many are ordered differently;
`REPLAY_TOLERANCE` bounds what that, or another machine, may change.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from knowgate._bundles.bundle_documents import TierDocument
from knowgate._models.features import FLOAT16, Float16Array, Standardiser, finite_states, stored_vector
from knowgate._models.ood import OodStatistics
from knowgate._models.probe import Probe
from knowgate._models.resampled import ResampledScores
from knowgate._models.stack import Stack
from knowgate._records.arrays import Float32Array, FloatArray
from knowgate._records.construction import signals
from knowgate._records.records import Signals
from knowgate.errors import RecordInvalid

Seen = tuple[float | None, float | None]  # p_ik and ood
NOTHING_SEEN: Seen = (None, None)

# The most by which a replayed p_ik, score or ood may differ between machines, or between `signals`
# and `signal_columns`: float32 products are summed in another order there.
REPLAY_TOLERANCE = 1e-5
ROWS_AT_ONCE = 64  # a megabyte of float32 at 4096 dimensions: what one step wrote, the next finds in the cache


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TierModels:
    """The models of one non-last tier: everything between a hidden state and its signals."""

    document: TierDocument
    standardiser: Standardiser
    probe: Probe
    ood: OodStatistics | None = None
    resampled: ResampledScores | None = None  # how far the score may be off; decides nothing
    _stack: Stack | None = field(init=False, repr=False)  # None = float32 may overflow: step by step

    def __post_init__(self) -> None:
        wanted = self.document.dimension
        dimensions = [("standardiser", self.standardiser.dimension), ("probe", self.probe.dimension)]
        if self.ood is not None:
            dimensions.append(("ood", self.ood.dimension))
        for name, dimension in dimensions:
            if dimension != wanted:
                raise RecordInvalid(f"{name}.dimension", dimension, f"the tier's document says {wanted}")
        if self.probe.kind is not self.document.probe:
            raise RecordInvalid("probe", self.probe.kind.value, f"the tier's document says {self.document.probe}")
        if (self.ood is not None) != self.document.ood:
            raise RecordInvalid("ood", self.ood is not None, f"the tier's document says {self.document.ood}")
        if (self.resampled is not None) != self.document.resampled:
            said = self.document.resampled
            raise RecordInvalid("resampled", self.resampled is not None, f"the tier's document says {said}")
        object.__setattr__(self, "_stack", Stack.of(self.standardiser, self.probe, self.ood))

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

        `hidden` is [d], of the document's fingerprint (the caller compares); `entropy` in nats.
        What cannot be computed is None: p_ik and ood without a finite `hidden`, ood without
        `tokens_in`, score without p_t or p_ik. Raises RecordInvalid for a hidden state of another
        shape, or a p_t outside [0, 1].
        """
        seen = NOTHING_SEEN
        if hidden is not None:
            if hidden.shape != (self.document.dimension,):
                raise RecordInvalid("hidden.shape", hidden.shape, f"this tier reads [{self.document.dimension}]")
            if np.isfinite(hidden).all():
                seen = self.look(stored_vector(hidden), tokens_in) or NOTHING_SEEN
        return self.signals_of(seen, p_t=p_t, entropy=entropy, margin=margin, slice=slice)

    def look(self, vector: Float16Array, tokens_in: int | None) -> Seen | None:
        """What one state [d], as it is stored, shows; None where it is not finite."""
        stack = self._stack
        if stack is None:
            return self._look_closely(vector, tokens_in)
        centred = stack.centred(vector)
        square = float(centred.dot(centred))
        if not square < stack.finite_below and not finite_states(vector):
            return None
        products = stack.matrix.dot(centred)
        p_ik = self.document.ik_calibrator.probability(stack.probe.finish(products))
        if self.ood is None or tokens_in is None or tokens_in < 1:
            return p_ik, None
        return p_ik, self.ood.rank(self.ood.finish(products[stack.width :], square, tokens_in))

    def _look_closely(self, vector: Float16Array, tokens_in: int | None) -> Seen | None:
        """`look` where float32 may overflow."""
        if not finite_states(vector):
            return None
        lengths = np.array([math.nan if tokens_in is None else float(tokens_in)])
        with np.errstate(all="ignore"):
            p_ik, ood = (column.item() for column in self._look_at_large(vector[np.newaxis], lengths))
        return p_ik if math.isfinite(p_ik) else None, ood if math.isfinite(ood) else None

    def signals_of(
        self, seen: Seen, *, p_t: float | None, entropy: float | None, margin: float | None, slice: str | None
    ) -> Signals:
        """All signals of one attempt whose state showed `seen`."""
        p_ik, ood = seen
        model = self.document.score_model
        score = None if model is None else model.score(p_t=p_t, p_ik=p_ik, entropy=entropy, margin=margin, slice=slice)
        return signals(p_t, p_ik, score, ood)

    def _look_at_rows(self, vectors: Float16Array, tokens_in: FloatArray) -> tuple[FloatArray, FloatArray]:
        """p_ik and ood of states [n, d], NaN where missing."""
        stack = self._stack
        if stack is None:
            return self._look_at_large(vectors, tokens_in)
        centred = stack.centred(vectors)
        squares: Float32Array = np.vecdot(centred, centred)
        doubtful = ~(squares < stack.finite_below)
        if doubtful.any():
            squares[doubtful] = np.where(finite_states(vectors[doubtful]), squares[doubtful], np.nan)
        products = centred @ stack.matrix.T
        products[np.isnan(squares)] = np.nan
        p_ik = self.document.ik_calibrator.probabilities(stack.probe.finish_rows(products))
        if self.ood is None:
            return p_ik, np.full(len(vectors), np.nan)
        return p_ik, self.ood.ranks(self.ood.finish_rows(products[:, stack.width :], squares, tokens_in))

    def _look_at_large(self, vectors: Float16Array, tokens_in: FloatArray) -> tuple[FloatArray, FloatArray]:
        """`_look_at_rows` where float32 may overflow: step by step, and what is not finite is
        missing.
        """
        x = self.standardiser.apply(vectors.astype(np.float32))
        x[~finite_states(vectors)] = np.nan  # a rectified unit makes a zero of an infinity
        p_ik = self.document.ik_calibrator.probabilities(_finite(self.probe.logits(x)))
        if self.ood is None:
            return p_ik, np.full(len(vectors), np.nan)
        return p_ik, self.ood.ranks(_finite(self.ood.statistics(x, tokens_in)))

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
        """`signals` of n attempts, by gate name, each [n] with NaN where missing: what
        `retain_mask` takes.

        `hidden` is [n, d]; a row that holds anything not finite is a missing hidden state.
        """
        if hidden.ndim != 2 or hidden.shape[1] != self.document.dimension:
            raise RecordInvalid("hidden.shape", hidden.shape, f"this tier reads [n, {self.document.dimension}]")
        n = len(hidden)
        lengths = np.full(n, np.nan) if tokens_in is None else tokens_in
        p_ik, ood = np.empty(n), np.empty(n)
        with np.errstate(all="ignore"):  # what overflows is not finite, and counts as missing
            for start in range(0, n, ROWS_AT_ONCE):
                rows = slice(start, start + ROWS_AT_ONCE)
                p_ik[rows], ood[rows] = self._look_at_rows(_stored_rows(hidden[rows]), lengths[rows])
        columns = {"p_t": p_t, "p_ik": p_ik, "ood": ood, "score": np.full(n, np.nan)}
        if self.document.score_model is not None:
            columns["score"] = self.document.score_model.scores(
                p_t=p_t, p_ik=p_ik, entropy=entropy, margin=margin, slices=slices
            )
        return columns


def _stored_rows(hidden: npt.NDArray[np.floating]) -> Float16Array:
    """States [n, d] as they are stored; rows that are not finite as rows of NaN."""
    if hidden.dtype == FLOAT16:
        return hidden
    finite = np.isfinite(hidden).all(axis=1)
    rows: Float16Array = np.full(hidden.shape, np.nan, dtype=np.float16)
    rows[finite] = stored_vector(hidden[finite])
    return rows


def _finite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, np.nan)

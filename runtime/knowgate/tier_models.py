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

from knowgate.arrays import Float32Array, FloatArray, own_float32
from knowgate.bundle_documents import TierDocument
from knowgate.errors import RecordInvalid
from knowgate.features import Standardiser, features
from knowgate.ood import OodStatistics
from knowgate.probe import Probe
from knowgate.records import Signals

# The most by which a replayed p_ik, score or ood may differ between machines, or between `signals` and
# `signal_columns`: float32 products are summed in another order there.
REPLAY_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Stack:
    """The first linear step of all models of a tier, as one matrix-vector product."""

    inverse_scale: Float32Array  # [d]
    shift: Float32Array  # [d], in standardised units
    matrix: Float32Array  # [h + k, d]: the probe's first layer, then the OOD components
    width: int  # h
    probe: Probe  # for states that lack the OOD mean

    @classmethod
    def of(cls, standardiser: Standardiser, probe: Probe, ood: OodStatistics | None) -> "_Stack":
        mean = standardiser.mean.astype(np.float64)
        scale = standardiser.scale.astype(np.float64)
        centre = np.zeros_like(mean) if ood is None else ood.mean.astype(np.float64)
        first = probe.first_layer
        return cls(
            inverse_scale=own_float32("1 / standardiser.scale", 1 / scale, (None,)),
            shift=own_float32("standardiser.mean / scale + ood.mean", mean / scale + centre, (None,)),
            matrix=first if ood is None else np.concatenate([first, ood.components]),
            width=len(first),
            probe=probe.shifted(centre),
        )


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
        p_ik: float | None = None
        ood: float | None = None
        if hidden is not None:
            logit, ood = self._look(hidden, tokens_in)
            p_ik = self.document.ik_calibrator.probability(logit) if math.isfinite(logit) else None
        model = self.document.score_model
        score = None if model is None else model.score(p_t=p_t, p_ik=p_ik, entropy=entropy, margin=margin, slice=slice)
        return Signals(p_t=p_t, p_ik=p_ik, score=score, ood=ood)

    def _look(self, hidden: npt.NDArray[np.floating], tokens_in: int | None) -> tuple[float, float | None]:
        """The probe's logit (NaN for a state that is not finite) and the OOD percentile of one hidden state."""
        if hidden.shape != (self.document.dimension,):
            raise RecordInvalid("hidden.shape", hidden.shape, f"this tier reads [{self.document.dimension}]")
        stack = self._stack
        with np.errstate(all="ignore"):
            # float16 first, as `features` does; what saturates there is infinite here, and goes the long way below.
            centred = hidden.astype(np.float16, copy=False).astype(np.float32)
            centred *= stack.inverse_scale
            centred -= stack.shift
            square = float(centred.dot(centred))
            # An infinity or a NaN in any one dimension reaches the square, so one comparison checks all of them.
            if not math.isfinite(square):
                return self._look_at_large(hidden, tokens_in)
            products = stack.matrix.dot(centred)
            logit = stack.probe.finish(products[: stack.width])
            if self.ood is None:
                return logit, None
            statistic = self.ood.finish(products[stack.width :], square, tokens_in)
            if statistic is not None and not math.isfinite(statistic):
                return self._look_at_large(hidden, tokens_in)
        return logit, None if statistic is None else self.ood.rank(statistic)

    def _look_at_large(self, hidden: npt.NDArray[np.floating], tokens_in: int | None) -> tuple[float, float | None]:
        """`_look` where float16 saturates, float32 overflows, or the state is not finite."""
        if not np.isfinite(hidden).all():
            return math.nan, None
        x = self.standardiser.apply(features(hidden))[np.newaxis]
        logit = float(self.probe.logits(x)[0])
        if self.ood is None or tokens_in is None:
            return logit, None
        statistic = float(self.ood.statistics(x, np.array([float(tokens_in)]))[0])
        return logit, self.ood.rank(statistic) if math.isfinite(statistic) else None

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
        present = np.isfinite(hidden).all(axis=1)
        p_ik, ood = np.full(n, np.nan), np.full(n, np.nan)
        with np.errstate(all="ignore"):  # what overflows is not finite, and counts as missing
            x = self.standardiser.apply(features(hidden[present]))
            p_ik[present] = self.document.ik_calibrator.probabilities(_finite(self.probe.logits(x)))
            if self.ood is not None and tokens_in is not None:
                ood[present] = self.ood.ranks(_finite(self.ood.statistics(x, tokens_in[present])))
        columns = {"p_t": p_t, "p_ik": p_ik, "ood": ood, "score": np.full(n, np.nan)}
        if self.document.score_model is not None:
            columns["score"] = self.document.score_model.scores(
                p_t=p_t, p_ik=p_ik, entropy=entropy, margin=margin, slices=slices
            )
        return columns


def _finite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, np.nan)

"""The first linear step of all of a tier's models, as one product with a float16 state.

The probe's first layer and the OOD components lie stacked in one matrix, and the standardiser and
the OOD mean are one factor and one shift before it. One state takes six passes over its numbers:
three that widen it (`features.scaled`, whose last one scales), the shift, one matrix-vector
product, and its squared length.

The squared length also tells whether the state was finite: an infinity or a NaN comes out of
`scaled` as a number so large that the squared length reaches `finite_below`. What stays below was
finite in every dimension, whatever the weights are; what does not is looked at closely. So the
check costs nothing and misses nothing.
"""

from dataclasses import dataclass

import numpy as np

from knowgate._models.features import NOT_FINITE_FROM, RAISED_BY, Float16Array, Standardiser, scaled
from knowgate._models.ood import OodStatistics
from knowgate._models.probe import MlpProbe, Probe
from knowgate._records.arrays import Float32Array, FloatArray, own_float32

FLOAT32_SAFE = 1e36  # float32 reaches 3.4e38; sums may be rounded on the way
MOST_RAISED = 2.0**126
ROUNDED = 0.999  # more than float32 may take off a sum of squares


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """One tier's first linear step; made by `of`."""

    raised: Float32Array  # [d], 1 / scale in the form that `scaled` takes, as far as float32 holds it
    rest: Float32Array | None  # [d], the factor that it lacks then; None = nothing
    shift: Float32Array  # [d], in standardised units
    matrix: Float32Array  # [h + k, d]: the probe's first layer, then the OOD components
    width: int  # h
    probe: Probe  # for states that lack the OOD mean
    finite_below: float  # a squared length below it is that of a finite state

    @classmethod
    def of(cls, standardiser: Standardiser, probe: Probe, ood: OodStatistics | None) -> "Stack | None":
        """The stack of these models, or None where a float16 state can overflow float32 anywhere in
        them.
        """
        inverse = 1 / standardiser.scale.astype(np.float64)
        centre = np.zeros_like(inverse) if ood is None else ood.mean.astype(np.float64)
        shift = standardiser.mean * inverse + centre
        first = probe.first_layer
        matrix = first if ood is None else np.concatenate([first, ood.components])
        # NaNs come out of `scaled` at up to twice NOT_FINITE_FROM.
        reached = 2 * NOT_FINITE_FROM * inverse + np.abs(shift)
        if not _is_bounded(reached, matrix, probe, ood):
            return None
        wanted = inverse * float(RAISED_BY)
        raised = np.minimum(wanted, MOST_RAISED)
        least = float((NOT_FINITE_FROM * inverse - np.abs(shift)).min())
        return cls(
            raised=own_float32("1 / standardiser.scale", raised, (None,)),
            rest=None if (raised == wanted).all() else own_float32("rest", wanted / raised, (None,)),
            shift=own_float32("standardiser.mean / scale + ood.mean", shift, (None,)),
            matrix=own_float32("stack", matrix, (None, None)),
            width=len(first),
            probe=probe.shifted(centre),
            finite_below=ROUNDED * max(least, 0.0) ** 2,
        )

    def centred(self, vectors: Float16Array) -> Float32Array:
        """float16 states [d] or [n, d], standardised, less the OOD mean."""
        states = scaled(vectors, self.raised)
        if self.rest is not None:
            states *= self.rest
        states -= self.shift
        return states


def _is_bounded(largest: FloatArray, matrix: Float32Array, probe: Probe, ood: OodStatistics | None) -> bool:
    """Whether float32 holds every intermediate result for states of at most `largest` [d] in
    standardised units.
    """
    product = float((np.abs(matrix.astype(np.float64)) @ largest).max())
    reached = [float(largest @ largest), product]
    if isinstance(probe, MlpProbe):
        reached.append(float(np.abs(probe.w2).sum(dtype=np.float64)) * (product + float(np.abs(probe.b1).max())))
    if ood is not None:
        reached.append(len(ood.components) * product**2 / min(1.0, float(ood.variances.min())))
    return max(reached) < FLOAT32_SAFE

"""From a hidden state to what probes see: the one implementation, in training and in serving.

A hidden state is rounded to float16 first, because float16 is what is stored and shipped: the probe then sees the
same numbers today and when the decision is replayed from its stored vector. Values beyond float16's range saturate
(a few models have single activations that large), and a state that is not finite is refused.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knowgate.arrays import Float32Array, own_float32, require_positive
from knowgate.errors import RecordInvalid

Float16Array = npt.NDArray[np.float16]
FLOAT16 = np.dtype(np.float16)
FLOAT16_LARGEST = 65504.0
_FLOAT32, _INT16, _INT32, _UINT16 = (np.dtype(kind) for kind in (np.float32, np.int16, np.int32, np.uint16))
# All float16 numbers as float32, by their bits: for one state, looking them up takes half the time of converting them.
with np.errstate(invalid="ignore"):
    _FLOAT32_OF = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)

# A float16 moved 13 bits up has its fields where a float32 has them: the sign (after the copies of it that widening an
# integer makes are masked out), five bits of an exponent, and the mantissa. Only the exponent's bias is 112 too small.
_MANTISSA_SHIFT = np.int32(23 - 10)
_FIELDS = np.uint32(0x8FFFE000).astype(np.int32)
_BIAS = np.float32(2.0 ** (127 - 15))
# Read so, infinities and NaNs are numbers from ±65536 on, and the sum of a state's squares (rounding never takes a sum
# of positive numbers below one of them) reaches this wherever one is.
_LEAST_NOT_FINITE_SQUARED = 65536.0**2
# Nought where this thread's processor takes denormal numbers for nought, as some libraries tell it to.
_DENORMAL, _RAISED = 5e-324, 2.0**1000


def stored_vector(hidden: npt.ArrayLike) -> Float16Array:
    """The float16 form in which a hidden state is stored and shipped.

    `hidden`: floating-point [d] or [n, d] (bfloat16 comes as float32). Finite values saturate at ±65504.
    Raises RecordInvalid for another shape or type, or for a value that is not finite.

    >>> stored_vector([0.1, 1e6]).tolist()
    [0.0999755859375, 65504.0]
    """
    array: npt.NDArray[Any] = np.asarray(hidden)
    if array.ndim not in (1, 2) or array.shape[-1] == 0:
        raise RecordInvalid("hidden.shape", array.shape, "give one hidden state [d] or several [n, d]")
    if not np.issubdtype(array.dtype, np.floating):
        raise RecordInvalid("hidden.dtype", str(array.dtype), "give floating-point numbers; bfloat16 as float32")
    # float16 is looked at as float32, which takes a third of the time.
    if not np.isfinite(widened(array) if array.dtype == np.float16 else array).all():
        raise RecordInvalid("hidden", "not finite", "a state with NaN or infinity counts as missing; leave it out")
    if array.dtype == np.float16:
        return array
    saturated: Float16Array = np.clip(array, -FLOAT16_LARGEST, FLOAT16_LARGEST).astype(np.float16)
    return saturated


def features(hidden: npt.ArrayLike) -> Float32Array:
    """What probes see of a hidden state [d] or [n, d]: float32 of its shape, equal for the state and its stored form.

    Raises RecordInvalid as `stored_vector` does.

    >>> features(np.array([0.1, 2.0], dtype=np.float32)).tolist()
    [0.0999755859375, 2.0]
    >>> bool((features(stored_vector([0.1, 2.0])) == features([0.1, 2.0])).all())
    True
    """
    return widened(stored_vector(hidden))


def widened(vector: Float16Array) -> Float32Array:
    """A float16 array as float32 of its shape: the same numbers, NaN and infinities too."""
    wide: Float32Array = _FLOAT32_OF.take(vector.view(_UINT16), mode="wrap")
    return wide


def finite_features(vector: Float16Array) -> Float32Array | None:
    """`features` of a float16 state [d], or None where it is not finite.

    The same numbers as `widened` gives, by four passes that the processor takes many numbers at a time in, where
    looking each number up goes one by one and pushes the probe's weights out of the cache.
    """
    if _DENORMAL * _RAISED == 0.0:  # the product with the bias would lose the smallest numbers
        wide = widened(vector)
        return wide if np.isfinite(wide).all() else None
    bits = vector.view(_INT16).astype(_INT32)
    bits <<= _MANTISSA_SHIFT
    bits &= _FIELDS
    wide = bits.view(_FLOAT32)
    wide *= _BIAS
    if wide.dot(wide) < _LEAST_NOT_FINITE_SQUARED or np.isfinite(widened(vector)).all():
        return wide
    return None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standardiser:
    """Centres and scales features per dimension: (features - mean) / scale.

    >>> Standardiser(mean=np.array([1.0, 2.0]), scale=np.array([2.0, 4.0])).apply(features([3.0, 2.0])).tolist()
    [1.0, 0.0]
    """

    mean: Float32Array  # [d]
    scale: Float32Array  # [d], above 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", own_float32("standardiser.mean", self.mean, (None,)))
        object.__setattr__(self, "scale", own_float32("standardiser.scale", self.scale, self.mean.shape))
        require_positive("standardiser.scale", self.scale)

    @property
    def dimension(self) -> int:
        return len(self.mean)

    def apply(self, x: Float32Array) -> Float32Array:
        """Standardised float32 features, of the shape [d] or [n, d] that came in."""
        standardised: Float32Array = (x - self.mean) / self.scale
        return standardised

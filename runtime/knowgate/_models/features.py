"""From a hidden state to what probes see: the one implementation, in training and in serving.

A hidden state is rounded to float16 first, because float16 is what is stored and shipped: the probe
then sees the same numbers today and when the decision is replayed from its stored vector. Values
beyond float16's range saturate (a few models have single activations that large), and a state that
is not finite is refused.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knowgate._records.arrays import BoolArray, Float32Array, own_float32, require_positive
from knowgate.errors import RecordInvalid

Float16Array = npt.NDArray[np.float16]
FLOAT16 = np.dtype(np.float16)
FLOAT16_LARGEST = 65504.0
_FLOAT32, _INT16, _INT32 = np.dtype(np.float32), np.dtype(np.int16), np.dtype(np.int32)

# A float16 moved 13 bits up has its fields where a float32 has them: the sign (once the copies that
# widening an integer makes of it are masked out), five bits of an exponent, the mantissa. Only the
# exponent's bias is 112 short. Arrays without dimensions, as numpy makes an array of every scalar
# it is given, every time.
_MANTISSA_SHIFT = np.array(23 - 10, dtype=np.int32)
_FIELDS = np.array(0x8FFFE000, dtype=np.uint32).view(np.int32)
RAISED_BY = np.float32(2.0 ** (127 - 15))
_EXPONENT = np.int16(0x7C00)  # all ones in an infinity or a NaN, and in nothing else
NOT_FINITE_FROM = 65536.0  # what `scaled` takes infinities and NaNs for is at least this large
# Their product is nought where this thread's processor takes denormal numbers for nought, as some
# libraries tell it to.
_DENORMAL, _RAISED = 5e-324, 2.0**1000


def stored_vector(hidden: npt.ArrayLike) -> Float16Array:
    """The float16 form in which a hidden state is stored and shipped.

    `hidden`: floating-point [d] or [n, d] (bfloat16 comes as float32). Finite values saturate at
    ±65504. Raises RecordInvalid for another shape or type, or for a value that is not finite.

    >>> stored_vector([0.1, 1e6]).tolist()
    [0.0999755859375, 65504.0]
    """
    array: npt.NDArray[Any] = np.asarray(hidden)
    if array.ndim not in (1, 2) or array.shape[-1] == 0:
        raise RecordInvalid("hidden.shape", array.shape, "give one hidden state [d] or several [n, d]")
    if not np.issubdtype(array.dtype, np.floating):
        raise RecordInvalid("hidden.dtype", str(array.dtype), "give floating-point numbers; bfloat16 as float32")
    if not (finite_states(array) if array.dtype == FLOAT16 else np.isfinite(array)).all():
        raise RecordInvalid("hidden", "not finite", "a state with NaN or infinity counts as missing; leave it out")
    if array.dtype == FLOAT16:
        return array
    saturated: Float16Array = np.clip(array, -FLOAT16_LARGEST, FLOAT16_LARGEST).astype(np.float16)
    return saturated


def features(hidden: npt.ArrayLike) -> Float32Array:
    """What probes see of a hidden state [d] or [n, d]: float32 of its shape, equal for the state
    and its stored form.

    Raises RecordInvalid as `stored_vector` does.

    >>> features(np.array([0.1, 2.0], dtype=np.float32)).tolist()
    [0.0999755859375, 2.0]
    >>> bool((features(stored_vector([0.1, 2.0])) == features([0.1, 2.0])).all())
    True
    """
    return scaled(stored_vector(hidden), RAISED_BY)


def scaled(vector: Float16Array, raised: Float32Array | np.float32) -> Float32Array:
    """`features(vector) * factor` in one, bit for bit, where `raised` is factor * RAISED_BY; vector
    [d] or [n, d].

    numpy converts float16 one number at a time. The three passes over whole numbers here work on
    many at once, and the multiplication that corrects the exponent's bias is the one that scales.
    Infinities and NaNs come out as numbers of at least NOT_FINITE_FROM * factor: whoever may be
    given any looks for them.
    """
    if _DENORMAL * _RAISED == 0.0:  # numbers with too small an exponent would be lost here
        unraised: Float32Array = vector.astype(_FLOAT32) * (raised / RAISED_BY)
        return unraised
    bits = vector.view(_INT16).astype(_INT32)
    bits <<= _MANTISSA_SHIFT
    bits &= _FIELDS
    numbers = bits.view(_FLOAT32)
    numbers *= raised
    return numbers


def finite_states(vector: Float16Array) -> BoolArray:
    """Whether the state [d] is finite, or which of the states [n, d] are."""
    finite: BoolArray = (vector.view(_INT16) & _EXPONENT).max(axis=-1) < _EXPONENT
    return finite


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standardiser:
    """Centres and scales features per dimension: (features - mean) / scale.

    >>> standardiser = Standardiser(mean=np.array([1.0, 2.0]), scale=np.array([2.0, 4.0]))
    >>> standardiser.apply(features([3.0, 2.0])).tolist()
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

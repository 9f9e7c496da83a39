"""What a model's numbers must be before it may exist: float32, finite, of the right shape, and
read-only.

Every model checks its arrays here when it is made, so a model that exists is a model that can be
served, and what was trained is bit for bit what the bundle's float32 tensors give back.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from knowgate.errors import RecordInvalid

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


def own_float32(name: str, values: npt.ArrayLike, shape: Sequence[int | None]) -> Float32Array:
    """A read-only, contiguous float32 copy of `values`; None in `shape` stands for any length of at
    least 1.

    Raises RecordInvalid for another shape or a number that is not finite in float32.
    """
    with np.errstate(over="ignore"):
        array = np.array(values, dtype=np.float32, order="C")
    fits = len(array.shape) == len(shape) and all(
        length >= 1 if wanted is None else length == wanted for length, wanted in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted_text = "[" + ", ".join("n" if wanted is None else str(wanted) for wanted in shape) + "]"
        raise RecordInvalid(f"{name}.shape", array.shape, f"the shape {wanted_text} is expected")
    if not np.isfinite(array).all():
        raise RecordInvalid(name, "not finite", "every number must be finite in float32")
    array.setflags(write=False)
    return array


def own_float(name: str, value: float) -> float:
    """`value` rounded to float32, as the bundle's tensors hold it. Raises RecordInvalid unless it
    is finite.
    """
    with np.errstate(over="ignore"):
        rounded = float(np.float32(value))
    if not math.isfinite(rounded):
        raise RecordInvalid(name, value, "the number must be finite in float32")
    return rounded


def require_positive(name: str, values: npt.ArrayLike) -> None:
    """Raises RecordInvalid unless every one of `values` is above 0."""
    lowest = float(np.min(values))
    if not lowest > 0:
        raise RecordInvalid(name, lowest, "every value must be above 0")

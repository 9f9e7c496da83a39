"""What an argument must be before a figure is made of it.

Checked once, at the door of every public function, because a NaN that gets past it becomes a
plausible figure and nobody looks again. Each check names the argument, the first bad value and its
row, and the cure.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from evidence.errors import InvalidInputError, NotIdentifiedError

FloatArray: TypeAlias = npt.NDArray[np.float64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
IntArray: TypeAlias = npt.NDArray[np.int64]


def real_array(
    name: str,
    values: npt.ArrayLike,
    *,
    low: float = -np.inf,
    high: float = np.inf,
    unknown_allowed: bool = False,
) -> FloatArray:
    """`values` as float64 [n], n ≥ 1, each finite and in [low, high]; NaN passes only where unknown
    is allowed.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{name} is not a sequence of numbers ({error}); give one number per row") from error
    if array.ndim != 1:
        raise InvalidInputError(f"{name} has {array.ndim} dimensions, expected 1; give one number per row")
    if array.size == 0:
        raise InvalidInputError(f"{name} is empty; give at least one row")
    bad = ~((array >= low) & (array <= high) & np.isfinite(array))
    if unknown_allowed:
        bad &= ~np.isnan(array)
    if bad.any():
        row = int(np.argmax(bad))
        raise InvalidInputError(
            f"{name}[{row}] is {array[row]}, expected a finite number in [{low}, {high}]; drop or correct the row"
        )
    return array


def flag_array(name: str, values: npt.ArrayLike) -> BoolArray:
    """`values` as bool [n], n ≥ 1; numbers are taken only where each is 0 or 1."""
    array = np.asarray(values)
    if array.dtype != np.bool_:
        array = real_array(name, values)
        bad = (array != 0) & (array != 1)
        if bad.any():
            row = int(np.argmax(bad))
            raise InvalidInputError(f"{name}[{row}] is {array[row]}, expected true or false; give a flag per row")
    if array.ndim != 1 or array.size == 0:
        raise InvalidInputError(f"{name} has shape {array.shape}, expected [n] with n ≥ 1; give one flag per row")
    return array.astype(np.bool_)


def known_where_seen(name: str, values: FloatArray, seen: BoolArray) -> None:
    """Refuse values [n] that are NaN in a row that was observed."""
    missing = seen & np.isnan(values)
    if missing.any():
        row = int(np.argmax(missing))
        raise InvalidInputError(f"{name}[{row}] is unknown although the row was observed; give its value")


def same_length(**arrays: Sequence[object] | npt.NDArray[np.generic]) -> int:
    """The common number of rows of the named arrays."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        lengths_shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InvalidInputError(f"unequal numbers of rows: {lengths_shown}; give one value per row in each")
    return next(iter(lengths.values()))


def number(name: str, value: float, *, low: float = -np.inf, high: float = np.inf) -> float:
    """`value` as a finite float in [low, high]."""
    if not (np.isfinite(value) and low <= value <= high):
        within = f" in [{low}, {high}]" if np.isfinite([low, high]).any() else ""
        raise InvalidInputError(f"{name} is {value}, expected a finite number{within}; correct it")
    return float(value)


def level(name: str, value: float) -> float:
    """`value` as an error level in (0, 0.5]: a test that errs more often than a coin
    tells nothing.
    """
    if not 0.0 < value <= 0.5:
        raise InvalidInputError(f"{name} is {value}, expected a level in (0, 0.5]; 0.1 is usual")
    return float(value)


def count(name: str, value: int, *, low: int = 0) -> int:
    """`value` as a whole number ≥ low."""
    if value != int(value) or value < low:
        raise InvalidInputError(f"{name} is {value}, expected a whole number ≥ {low}; correct it")
    return int(value)


def propensity_array(name: str, values: npt.ArrayLike) -> FloatArray:
    """`values` as propensities in (0, 1]; a zero or unknown one raises NotIdentifiedError."""
    array = real_array(name, values, low=0.0, high=1.0, unknown_allowed=True)
    reason = why_not_identified(array)
    if reason is not None:
        raise NotIdentifiedError(f"{name}: {reason}")
    return array


def why_not_identified(propensity: npt.ArrayLike) -> str | None:
    """Why no estimate exists over rows of these propensities, or None where one does.

    For callers that print "not identified" beside its reason instead of catching an exception.

    Examples:
        >>> why_not_identified([0.5, float("nan")]).split(";")[0]
        'row 1 has an unknown propensity'
        >>> why_not_identified([0.5, 1.0]) is None
        True
    """
    array = real_array("propensity", propensity, low=0.0, high=1.0, unknown_allowed=True)
    unknown = np.isnan(array)
    if unknown.any():
        row = int(np.argmax(unknown))
        return f"row {row} has an unknown propensity; log the coin that ran it, or leave its stratum out and say so"
    if (array == 0.0).any():
        row = int(np.argmax(array == 0.0))
        return f"row {row} has propensity 0: such rows never run; raise the exploration rate above 0 there"
    return None

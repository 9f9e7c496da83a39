"""What may be believed of what a caller hands in.

Engines hand over whatever they have: a NaN from an overflowed softmax, a hidden state of the wrong layer, a tensor
still on the device. None of that may stop a query from being served, and none of it may be believed: each such
value counts as missing, and a note says why. Missing signals escalate, so a fault costs money and never accuracy.
"""

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from knowgate.errors import RecordInvalid
from knowgate.features import Float16Array, stored_vector

# A probability summed in float32 may miss 1 by this much; further out it is no probability.
ROUNDING = 1e-6
LARGEST_WHOLE = 2.0**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """One attempt's inputs as far as they hold. None = missing; `notes` say what was dropped and why."""

    p_t: float | None = None
    vector: Float16Array | None = None  # [d], a copy: the engine may reuse its buffer
    tokens_in: int | None = None
    entropy: float | None = None
    margin: float | None = None
    notes: tuple[str, ...] = ()


def take_in(
    *, p_t: Any = None, hidden: Any = None, tokens_in: Any = None, entropy: Any = None, margin: Any = None
) -> Intake:
    """Everything that holds of the five; never raises for a bad value.

    >>> take_in(p_t=1.7, entropy=0.3)
    Intake(p_t=None, vector=None, tokens_in=None, entropy=0.3, margin=None, notes=('p_t is 1.7: outside [0, 1]',))
    """
    notes: list[str] = []
    return Intake(
        p_t=_probability("p_t", p_t, notes),
        vector=_vector(hidden, notes),
        tokens_in=whole("tokens_in", tokens_in, notes),
        entropy=amount("entropy", entropy, notes),
        margin=_probability("margin", margin, notes),
        notes=tuple(notes),
    )


def amount(name: str, value: Any, notes: list[str]) -> float | None:
    """A finite number of at least 0, or None with a note."""
    number = _number(name, value, notes)
    if number is not None and number < 0:
        notes.append(f"{name} is {number!r}: below 0")
        return None
    return number


def whole(name: str, value: Any, notes: list[str]) -> int | None:
    """A whole number of at least 0, or None with a note."""
    number = amount(name, value, notes)
    if number is None:
        return None
    if number < LARGEST_WHOLE:
        try:
            return operator.index(value)
        except TypeError:
            if number.is_integer():
                return int(number)
    notes.append(f"{name} is {number!r}: not a whole number of 63 bits")
    return None


def _probability(name: str, value: Any, notes: list[str]) -> float | None:
    number = _number(name, value, notes)
    if number is None:
        return None
    if not -ROUNDING <= number <= 1.0 + ROUNDING:
        notes.append(f"{name} is {number!r}: outside [0, 1]")
        return None
    return min(1.0, max(0.0, number))


def _vector(hidden: Any, notes: list[str]) -> Float16Array | None:
    if hidden is None:
        return None
    try:
        vector = np.array(stored_vector(hidden))
    except RecordInvalid as error:
        notes.append(str(error))
        return None
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        # What a tensor says that lives on a device, needs a gradient, or is bfloat16.
        notes.append(f"hidden is a {type(hidden).__name__} that numpy cannot read: {error}")
        return None
    if vector.ndim != 1:
        notes.append(f"hidden.shape is {vector.shape}: give one hidden state [d]")
        return None
    return vector


def _number(name: str, value: Any, notes: list[str]) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        notes.append(f"{name} is {value!r}: not a number ({error})")
        return None
    if not math.isfinite(number):
        notes.append(f"{name} is {number!r}: not finite")
        return None
    return number

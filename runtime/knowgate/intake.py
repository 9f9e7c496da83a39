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

from knowgate.arrays import Float32Array
from knowgate.errors import RecordInvalid
from knowgate.features import Float16Array, stored_vector, widened
from knowgate.records import PTKind

# A probability summed in float32 may miss 1 by this much; further out it is no probability.
ROUNDING = 1e-6
LARGEST_WHOLE = 2.0**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """One attempt's inputs as far as they hold. None = missing; `notes` say what was dropped and why."""

    p_t: float | None = None
    p_t_kind: PTKind | None = None  # None = the tier's own, as declared
    vector: Float16Array | None = None  # [d], a copy: the engine may reuse its buffer
    features: Float32Array | None = None  # [d], the vector as `knowgate.features` gives it
    tokens_in: int | None = None
    entropy: float | None = None
    margin: float | None = None
    notes: tuple[str, ...] = ()


def take_in(
    *,
    p_t: Any = None,
    p_t_kind: Any = None,
    hidden: Any = None,
    tokens_in: Any = None,
    entropy: Any = None,
    margin: Any = None,
) -> Intake:
    """Everything that holds of the six; never raises for a bad value. A P(T) of an unknown kind is no P(T).

    >>> take_in(p_t=1.7, entropy=0.3).notes
    ('p_t is 1.7: outside [0, 1]',)
    """
    notes: list[str] = []
    vector, features = (None, None) if hidden is None else _vector(hidden, notes)
    p_t = _probability("p_t", p_t, notes)
    if p_t_kind is not None and type(p_t_kind) is not PTKind:
        try:
            p_t_kind = PTKind(p_t_kind)
        except ValueError:
            notes.append(f"p_t_kind is {p_t_kind!r}: use one of {', '.join(PTKind)}; p_t is left out")
            p_t = p_t_kind = None
    return Intake(
        p_t=p_t,
        p_t_kind=p_t_kind,
        vector=vector,
        features=features,
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
    if type(value) is int and 0 <= value < LARGEST_WHOLE:
        return value
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
    return number if 0.0 <= number <= 1.0 else min(1.0, max(0.0, number))


def _vector(hidden: Any, notes: list[str]) -> tuple[Float16Array | None, Float32Array | None]:
    if type(hidden) is np.ndarray and hidden.dtype == np.float16 and hidden.ndim == 1:
        vector = hidden.copy()
        features = widened(vector)
        # No sum of float16 squares overflows float32, so this one number is finite exactly where every one is.
        if len(vector) and math.isfinite(features.dot(features)):
            return vector, features
    try:
        vector = np.array(stored_vector(hidden))
    except RecordInvalid as error:
        notes.append(str(error))
        return None, None
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        # What a tensor says that lives on a device, needs a gradient, or is bfloat16.
        notes.append(f"hidden is a {type(hidden).__name__} that numpy cannot read: {error}")
        return None, None
    if vector.ndim != 1:
        notes.append(f"hidden.shape is {vector.shape}: give one hidden state [d]")
        return None, None
    return vector, widened(vector)


def _number(name: str, value: Any, notes: list[str]) -> float | None:
    if value is None or (type(value) is float and math.isfinite(value)):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        notes.append(f"{name} is {value!r}: not a number ({error})")
        return None
    if not math.isfinite(number):
        notes.append(f"{name} is {number!r}: not finite")
        return None
    return number

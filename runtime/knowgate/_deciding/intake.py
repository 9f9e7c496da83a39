"""What may be believed of what a caller hands in.

Engines hand over whatever they have: a NaN from an overflowed softmax, a hidden state of the wrong
layer, a tensor still on the device. None of that may stop a query from being served, and none of it
may be believed: each such value counts as missing, and a note says why. Missing signals escalate,
so a fault costs money and never accuracy.
"""

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from knowgate._models.features import FLOAT16, Float16Array, stored_vector
from knowgate._records.records import PTKind
from knowgate._wire.storable import LARGEST_INTEGER
from knowgate.errors import RecordInvalid

# A probability summed in float32 may miss 1 by this much; further out it is no probability.
ROUNDING = 1e-6


@dataclass(slots=True)
class Intake:
    """One attempt's inputs as far as they hold. None = missing; `notes` say what was dropped and
    why.

    Lives within one call and leaves the package nowhere, so it is spared what being frozen costs: a
    microsecond.
    """

    p_t: float | None
    p_t_kind: PTKind | None  # None = the tier's own, as declared
    vector: Float16Array | None  # [d]; may be the engine's own buffer: whoever keeps it copies it
    tokens_in: int | None
    entropy: float | None
    margin: float | None
    notes: list[str]
    settled: bool  # whether it is known that the vector is finite, or that there is none

    def settle(self) -> None:
        """Drops a vector that is not finite: for where no probe looked at it, which finds that out
        by the way.
        """
        if not self.settled and self.vector is not None:
            try:
                stored_vector(self.vector)
            except RecordInvalid as error:
                self.notes.append(str(error))
                self.vector = None
        self.settled = True


def take_in(
    *,
    p_t: Any = None,
    p_t_kind: Any = None,
    hidden: Any = None,
    tokens_in: Any = None,
    entropy: Any = None,
    margin: Any = None,
) -> Intake:
    """Everything that holds of the six; never raises for a bad value. A P(T) of an unknown kind is
    no P(T).

    >>> take_in(p_t=1.7, entropy=0.3).notes
    ['p_t is 1.7: outside [0, 1]']
    """
    notes: list[str] = []
    settled = not (type(hidden) is np.ndarray and hidden.dtype == FLOAT16 and hidden.ndim == 1 and len(hidden))
    vector = _vector(hidden, notes) if settled else hidden
    # What nearly every caller hands in passes here; everything else is looked at closely.
    p_t = p_t if type(p_t) is float and 0.0 <= p_t <= 1.0 else _probability("p_t", p_t, notes)
    if p_t_kind is not None and type(p_t_kind) is not PTKind:
        try:
            p_t_kind = PTKind(p_t_kind)
        except ValueError:
            notes.append(f"p_t_kind is {p_t_kind!r}: use one of {', '.join(PTKind)}; p_t is left out")
            p_t = p_t_kind = None
    return Intake(
        p_t,
        p_t_kind,
        vector,
        whole("tokens_in", tokens_in, notes),
        None if entropy is None else amount("entropy", entropy, notes),
        None if margin is None else _probability("margin", margin, notes),
        notes,
        settled,
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
    if type(value) is int and 0 <= value <= LARGEST_INTEGER:
        return value
    number = amount(name, value, notes)
    if number is None:
        return None
    if number < LARGEST_INTEGER:
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


def _vector(hidden: Any, notes: list[str]) -> Float16Array | None:
    if hidden is None:
        return None
    try:
        vector = stored_vector(hidden)
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

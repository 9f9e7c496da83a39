"""What may be believed of what a caller hands in.

Engines hand over whatever they have: a NaN from an overflowed softmax, a hidden state of the wrong
layer, a tensor still on the device. None of that may stop a query from being served, and none of it
may be believed: each such value counts as missing, and a note says why. Missing signals escalate,
so a fault costs money and never accuracy.
"""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from knowgate._models.features import FLOAT16, Float16Array, stored_vector
from knowgate._records.construction import nothing_in
from knowgate._records.observation import Observation
from knowgate._records.records import LIMITS, Fingerprint, Limit, PTKind
from knowgate._wire.storable import LARGEST_INTEGER
from knowgate.errors import RecordInvalid

# A probability summed in float32 may miss 1 by this much; further out it is no probability.
ROUNDING = 1e-6


@dataclass(slots=True)
class Intake:
    """One observation at work: what of it is believed, and `notes` on what is not, and why.

    Lives within one call and leaves the package nowhere, so it is spared what being frozen costs: a
    microsecond.
    """

    seen: Observation  # every number within its limits, or None
    vector: Float16Array | None  # [d]; may be the engine's own buffer: whoever keeps it copies it
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


def take_in(shown: Observation) -> Intake:
    """Everything that holds of what was shown; never raises for a bad value, only for what is no
    observation. A P(T) of an unknown kind is no P(T).

    >>> take_in(Observation(p_t=1.7, entropy=0.3)).notes
    ['p_t is 1.7: outside [0, 1]']
    """
    if not isinstance(shown, Observation):
        raise RecordInvalid("shown", type(shown).__name__, "give what the tier showed as an Observation(…)")
    notes: list[str] = []
    hidden, p_t, tokens_in = shown.hidden, shown.p_t, shown.tokens_in
    answer, fingerprint, model, said = shown.answer, shown.fingerprint, shown.model, shown.notes
    settled = not (type(hidden) is np.ndarray and hidden.dtype == FLOAT16 and hidden.ndim == 1 and len(hidden))
    vector = _vector(hidden, notes) if settled else hidden
    # What nearly every decision is made of passes here; everything else is looked at closely.
    plain = (
        (p_t is None or (type(p_t) is float and 0.0 <= p_t <= 1.0))
        and (tokens_in is None or (type(tokens_in) is int and 0 <= tokens_in <= LARGEST_INTEGER))
        and (answer is None or type(answer) is str)
        and (fingerprint is None or type(fingerprint) is Fingerprint)
        and (model is None or type(model) is str)
        and (type(said) is tuple and not said)
        and _shows_no_more(shown)
    )
    return Intake(shown if plain else _believed(shown, notes), vector, notes, settled)


_shows_no_more = nothing_in(name for name in ("p_t_kind", *LIMITS) if name != "tokens_in")


def _believed(shown: Observation, notes: list[str]) -> Observation:
    """The observation with None for what cannot be believed."""
    changes: dict[str, Any] = {"p_t": _probability("p_t", shown.p_t, notes), "notes": texts(shown.notes)}
    for name, kind, cure in _OF_ONE_KIND:
        value = getattr(shown, name)
        if value is not None and not isinstance(value, kind):
            # By its type alone: notes are kept in full where texts are not.
            notes.append(_fault(name, type(value).__name__, cure))
            changes[name] = None
    if shown.p_t_kind is not None:
        try:
            changes["p_t_kind"] = PTKind(shown.p_t_kind)
        except ValueError:
            notes.append(_fault("p_t_kind", shown.p_t_kind, f"use one of {', '.join(PTKind)}; p_t is left out"))
            changes |= {"p_t": None, "p_t_kind": None}
    changes |= {name: _READS[limit](name, getattr(shown, name), notes) for name, limit in LIMITS.items()}
    return replace(shown, **changes)


def texts(notes: Any) -> tuple[str, ...]:
    """Notes as they were meant: a lone text is one note, not its letters."""
    if notes is None:
        return ()
    return tuple(map(str, notes)) if isinstance(notes, (tuple, list)) else (str(notes),)


def _fault(name: str, value: Any, cure: str) -> str:
    """What a note says; a value that cannot be shown does no harm."""
    return str(RecordInvalid(name, value, cure))


def _amount(name: str, value: Any, notes: list[str]) -> float | None:
    """A finite number of at least 0, or None with a note."""
    number = _number(name, value, notes)
    if number is not None and number < 0:
        notes.append(f"{name} is {number!r}: below 0")
        return None
    return number


def _whole(name: str, value: Any, notes: list[str]) -> int | None:
    """A whole number of at least 0, or None with a note."""
    if type(value) is int and 0 <= value <= LARGEST_INTEGER:
        return value
    number = _amount(name, value, notes)
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
        if isinstance(value, (bool, np.bool_)):
            raise TypeError("a truth value is no number")
        number = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        notes.append(_fault(name, value, f"not a number ({error})"))
        return None
    if not math.isfinite(number):
        notes.append(f"{name} is {number!r}: not finite")
        return None
    return number


_OF_ONE_KIND = (
    ("answer", str, "a text is expected"),
    ("fingerprint", Fingerprint, "a Fingerprint is expected"),
    ("model", str, "a text is expected"),
)
_READS: Mapping[Limit, Callable[[str, Any, list[str]], float | None]] = {
    Limit.COUNT: _whole,
    Limit.AMOUNT: _amount,
    Limit.SHARE: _probability,
}

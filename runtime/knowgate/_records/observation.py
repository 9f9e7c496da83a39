"""What a tier showed for a query: the one record from an engine's reply to the logged attempt.

Engines hand over whatever they have, so an observation is not checked when it is made: what of it
may be believed is decided where it is ruled on (`knowgate._deciding.intake`).
"""

from dataclasses import dataclass
from typing import Any

from knowgate._records.construction import filled_open
from knowgate._records.records import Shown


@filled_open
@dataclass(frozen=True, slots=True, kw_only=True)
class Observation(Shown):
    """What one tier showed. None = it did not; bad values count as missing, and a note says so."""

    p_t: float | None = None  # probability of the answer, of the kind `p_t_kind`
    hidden: Any = None  # hidden state [d], as numpy reads it
    model: str | None = None  # who answered, where neither a bundle nor the cascade says so
    notes: tuple[str, ...] = ()  # what is missing or failed, and why; kept with the attempt


NOTHING_SHOWN = Observation()

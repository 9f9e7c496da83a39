"""The assignment: the one small mutable thing per cascade.

It names the bundle in force, and says how long it may stay in force without word from the control
plane. It is signed over its canonical JSON; a runtime that holds a public key refuses an unsigned
one, a wrong one, and one of an older generation than it has already served.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from knowgate._wire import codec
from knowgate.errors import AssignmentRefused, RecordInvalid

SCHEMA = "knowgate.assignment.v1"


class Mode(StrEnum):
    """`active` lets the champion decide. The others keep nothing, whatever the bundle says: the
    last tier answers at once, and those before it run beside it on a share of the queries, to learn
    from. `observe` is how a cascade begins, `escalate_all` that it was stopped.
    """

    OBSERVE = "observe"
    ACTIVE = "active"
    ESCALATE_ALL = "escalate_all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Which bundle decides for a cascade, from one generation to the next."""

    cascade: str
    generation: int
    mode: Mode
    champion: str | None  # bundle id; None = no bundle yet, so everything escalates
    # The floor: every retained query has at least this chance. Where nothing can be kept: the
    # chance that the tiers before the last run beside it.
    exploration_rate: float
    issued_at: datetime
    valid_until: datetime
    challenger: str | None = None
    share: float = 0.0  # of the decisions, by keyed hash of their id, that the challenger decides
    exploration_extra: float = 0.0  # on top of the rate, at the threshold itself; see knowgate._deciding.exploration
    exploration_width: float = 0.1  # distance from a threshold at which the extra has gone
    schema: str = SCHEMA
    signature: str | None = None  # hex Ed25519 over `signed_bytes`

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise RecordInvalid("schema", self.schema, f"this runtime reads {SCHEMA}; upgrade one of the two")
        if self.generation < 0:
            raise RecordInvalid("generation", self.generation, "generations count from 0")
        for name in ("issued_at", "valid_until"):
            if getattr(self, name).tzinfo is None:
                cure = "the time is naive; add its offset, e.g. Z"
                raise RecordInvalid(name, getattr(self, name).isoformat(), cure)
        for name in ("exploration_rate", "share", "exploration_extra"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise RecordInvalid(name, getattr(self, name), "lies in [0, 1]")
        if not 0.0 < self.exploration_width <= 1.0:
            raise RecordInvalid("exploration_width", self.exploration_width, "lies in (0, 1]")
        if self.share > 0 and self.challenger is None:
            raise RecordInvalid("challenger", None, "a share above 0 needs a challenger")

    @property
    def signed_bytes(self) -> bytes:
        """What the signature is over: the canonical JSON without the signature itself."""
        return codec.canonical(replace(self, signature=None))


def read_assignment(document: object) -> Assignment:
    """An assignment from its JSON document.

    Raises AssignmentRefused naming the field, its value and the cure.
    """
    try:
        return codec.decode(Assignment, document)
    except RecordInvalid as error:
        raise AssignmentRefused(str(error)) from error

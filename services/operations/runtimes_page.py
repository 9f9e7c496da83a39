"""The page of all runtimes: who serves what, who was last heard of when, and what waits in their
spools.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment
from store.errors import RecordUnreadable
from store.releases import assignments, cascades
from store.releases.assignments import RuntimeState


class Standing(StrEnum):
    """How a runtime stands; what a person should look at comes first."""

    REFUSED = "refused what it was given"
    SILENT = "silent"
    BEHIND = "serves an older generation"
    SERVES = "serves what is in force"
    GONE = "gone"


_URGENCY = tuple(Standing)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeLine:
    """One runtime of one cascade."""

    state: RuntimeState
    standing: Standing

    @property
    def tone(self) -> str:
        """The colour of its badge."""
        if self.standing is Standing.SERVES:
            return "good"
        return "plain" if self.standing is Standing.GONE else "risk"


def runtime_lines(session: Session, *, now: datetime) -> tuple[RuntimeLine, ...]:
    """The runtimes of all cascades: first those that a person should look at, then by name."""
    lines = [
        RuntimeLine(state=state, standing=standing_of(state, current, now=now))
        for name in cascades.cascade_names(session)
        for current in (_in_force(session, name),)
        for state in assignments.acknowledgements(session, name)
    ]
    return tuple(sorted(lines, key=lambda line: _URGENCY.index(line.standing)))


def standing_of(state: RuntimeState, current: Assignment | None, *, now: datetime) -> Standing:
    """How one runtime stands beside what is in force."""
    if state.gone(now):
        return Standing.GONE
    if state.silent(now):
        return Standing.SILENT
    if not state.accepted:
        return Standing.REFUSED
    behind = current is not None and state.generation < current.generation
    return Standing.BEHIND if behind else Standing.SERVES


def _in_force(session: Session, name: str) -> Assignment | None:
    try:
        return assignments.assignment(session, name)
    except RecordUnreadable:
        return None  # its own page says so

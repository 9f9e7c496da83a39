"""The three states that an assignment can be in, and what a move from one to another rests on
(`services.promotion.rollout`).
"""

from dataclasses import dataclass
from enum import StrEnum

from knowgate._bundles.assignment import Assignment, Mode


class State(StrEnum):
    """What an assignment amounts to."""

    EMPTY = "empty"  # no champion, so nothing is kept
    ACTIVE = "active"  # the champion decides
    STOPPED = "stopped"  # nothing is kept, whatever the champion says


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """What a move rests on."""

    reason: str
    check: object = None  # the promotion check, where there was one
    by: str | None = None  # the person who moves; None = a job
    despite_alarm: str | None = None  # why a condemned bundle is wanted all the same

    @property
    def recorded(self) -> str:
        """The reason as it is recorded."""
        return self.reason if self.despite_alarm is None else f"{self.reason}; despite alarm: {self.despite_alarm}"


def state_of(assignment: Assignment) -> State:
    """The state that an assignment is in."""
    if assignment.mode is Mode.ESCALATE_ALL:
        return State.STOPPED
    return State.EMPTY if assignment.champion is None else State.ACTIVE


def described(assignment: Assignment) -> str:
    """What an assignment amounts to, in words."""
    if state_of(assignment) is State.EMPTY:
        return "no bundle is in force, every query goes to the last tier"
    name = "the cascade" if assignment.champion is None else f"bundle {assignment.champion[:12]}"
    if state_of(assignment) is State.STOPPED:
        return f"{name} is stopped, every query goes to the last tier"
    return f"{name} decides"

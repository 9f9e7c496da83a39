"""The three states that an assignment can be in, how much is explored in each, and what a move from
one to another rests on (`services.promotion.rollout`).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from knowgate._bundles.assignment import Assignment, Mode
from knowgate.spec import CascadeSpec
from monitoring.words import short, to_tenths


class State(StrEnum):
    """What an assignment amounts to."""

    OBSERVING = "observing"  # nothing is kept: not switched on yet, or put back
    ACTIVE = "active"  # the champion decides, or of a share of the queries a challenger
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
    decides = assignment.champion is not None or assignment.share > 0.0
    return State.ACTIVE if assignment.mode is Mode.ACTIVE and decides else State.OBSERVING


def coins_of(spec: CascadeSpec, mode: Mode, champion: str | None) -> dict[str, Any]:
    """How much is explored, by the fields of an assignment: where nothing is kept, what is
    observed.
    """
    kept = mode is Mode.ACTIVE and champion is not None
    return {
        "exploration_rate": spec.exploration_rate if kept else spec.observe.rate,
        "exploration_extra": spec.exploration_extra,
        "exploration_width": spec.exploration_width,
    }


def described(assignment: Assignment) -> str:
    """What an assignment amounts to, in words."""
    if assignment.challenger is None:
        return _described(assignment)
    name, share = f"bundle {short(assignment.challenger)}", assignment.share
    does = f"{name} decides {to_tenths(share)} of the queries" if share > 0.0 else f"{name} decides beside it, of none"
    rest = "the last tier answers the others" if assignment.champion is None and share > 0.0 else _described(assignment)
    return f"{rest}; {does}"


def _described(assignment: Assignment) -> str:
    if state_of(assignment) is State.OBSERVING:
        share = f"{to_tenths(assignment.exploration_rate)} of them are observed"
        return f"every query goes to the last tier, and {share}"
    name = "the cascade" if assignment.champion is None else f"bundle {short(assignment.champion)}"
    if state_of(assignment) is State.STOPPED:
        return f"{name} is stopped, every query goes to the last tier"
    return f"{name} decides"

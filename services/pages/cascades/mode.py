"""What decides now, in words: since when, by whom and why."""

from dataclasses import dataclass
from datetime import datetime

from knowgate._bundles.assignment import Assignment
from services.promotion.rollout_state import State, state_of
from store.releases.promotions import Outcome, PromotionRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeShown:
    """The state that a cascade is in."""

    state: str  # observing, active, stopped; "" where nothing is assigned
    word: str
    since: datetime | None
    by: str | None  # a person; None = the service
    reason: str | None

    @property
    def banner(self) -> bool:
        """Whether it keeps nothing though it was switched on once."""
        return self.state == State.STOPPED or (self.state == State.OBSERVING and self.reason is not None)


def mode_shown(assignment: Assignment | None, decided: tuple[PromotionRecord, ...]) -> ModeShown:
    """The state of the assignment in force; `decided` is newest first."""
    if assignment is None:
        return ModeShown(state="", word="nothing assigned", since=None, by=None, reason=None)
    state = state_of(assignment)
    move = next((row for row in decided if row.outcome.moves), None)
    if move is None:
        return ModeShown(state=state, word=state.value, since=assignment.issued_at, by=None, reason=None)
    moved = move.outcome in (Outcome.STOPPED, Outcome.OBSERVED) or state is State.ACTIVE
    return ModeShown(
        state=state,
        word=state.value,
        since=move.decided_at,
        by=move.decided_by,
        reason=move.reason if moved else None,
    )

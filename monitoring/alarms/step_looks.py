"""A look at a challenger in a step of its rollout, as it is recorded, and when one is due;
`monitoring.alarms.step_rows` takes it.

Looks are not free: who tests ever again finds harm one day by chance. So the k-th look of a rollout
is made at 6δ/(π²k²), and all of them together accuse a harmless challenger with a chance of at most
δ. A look is made at 30 decisions, whenever there are twice as many as at the last, when there are
as many as a step needs at the rate at which they counted so far, and when the step's time or its
deadline is over.
"""

from dataclasses import dataclass
from datetime import datetime

from evidence.certification.step import StepDemand, StepEvidence
from knowgate._records.records import Window

FIRST_LOOK = 30  # decisions


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLook:
    """A challenger on the mature decisions that speak of it."""

    at: datetime
    window: Window
    decisions: int  # of the window when it was looked at: all of them, or those that it decided itself
    look: int  # the how-manieth of this rollout
    level: float  # of this look's test for harm
    n: int = 0  # rows that count
    estimate: float | None = None  # of the drop, or of the retained accuracy, with what is not known as wrong
    keeps: bool = False  # the estimate is on the promise's side
    broken: bool = False  # shown that the promise is broken, with what is not known as right

    @property
    def evidence(self) -> StepEvidence:
        return StepEvidence(n=self.n, keeps=self.keeps, broken=self.broken)


def look_is_due(last: StepLook | None, decisions: int, demand: StepDemand, *, now: datetime) -> bool:
    """Whether to look again, at so many decisions of the same window's beginning.

    >>> from datetime import timedelta
    >>> noon = datetime.fromisoformat("2026-03-02T12:00:00+00:00")
    >>> demand = StepDemand(least=200, lasts_until=noon, deadline=noon + timedelta(days=7))
    >>> early = noon - timedelta(hours=1)
    >>> look_is_due(None, 29, demand, now=early), look_is_due(None, 30, demand, now=early)
    (False, True)
    """
    if last is None:
        return decisions >= FIRST_LOOK or (decisions > 0 and now >= demand.lasts_until)
    if decisions <= last.decisions:
        return False
    grown = decisions >= 2 * last.decisions
    enough = last.n < demand.least <= decisions * last.n / last.decisions
    return grown or enough or any(last.at < mark <= now for mark in (demand.lasts_until, demand.deadline))

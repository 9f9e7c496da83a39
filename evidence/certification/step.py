"""What a step of a rollout has shown: a challenger that decides beside the champion, or for a share
of the queries, goes on, waits, or is taken back.

- harmful: it is shown that the promise is broken, at this look's level, whatever the missing labels
  say. That ends the rollout at once.
- passed: the step has lasted as long as it is to last, enough rows count, and their estimate, with
  what nobody labelled taken as wrong, is on the promise's side.
- inconclusive: anything else, with what is missing and until when. Whether it ends there depends on
  the deadline alone.
- error: it could not be judged, and why. What cannot be judged goes no further.

That it harms is not shown is no proof that it keeps the promise. The proof is the certificate that
it came with; a step finds what certification rows cannot show, such as another runtime, another
week, another mix of queries.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class StepOutcome(StrEnum):
    PASSED = "passed"
    HARMFUL = "harmful"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDemand:
    """What a step has to show."""

    least: int  # rows that count
    lasts_until: datetime  # at least
    deadline: datetime  # from then on, what was not shown is not waited for


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvidence:
    """What was seen of a step at its newest look."""

    n: int  # rows that count
    keeps: bool  # the estimate is on the promise's side, unlabelled rows taken as wrong
    broken: bool  # shown at the look's level that the promise is broken, unlabelled rows taken as right


@dataclass(frozen=True, slots=True, kw_only=True)
class StepVerdict:
    """How a step stands."""

    outcome: StepOutcome
    missing: str | None  # what it waits for; None where it waits for nothing
    over: bool  # nothing is waited for any more

    @property
    def ends(self) -> bool:
        """Whether the rollout ends here, without the challenger in force."""
        if self.outcome is StepOutcome.INCONCLUSIVE:
            return self.over
        return self.outcome is not StepOutcome.PASSED


def step_verdict(
    demand: StepDemand, evidence: StepEvidence | None, *, now: datetime, error: str | None = None
) -> StepVerdict:
    """How a step stands at `now`, by its newest look (None = none was made yet) or by why it cannot
    be judged.

    Examples:
        >>> from datetime import timedelta
        >>> noon = datetime.fromisoformat("2026-03-02T12:00:00+00:00")
        >>> demand = StepDemand(least=200, lasts_until=noon, deadline=noon + timedelta(days=7))
        >>> seen = StepEvidence(n=150, keeps=True, broken=False)
        >>> step_verdict(demand, seen, now=noon).missing
        '50 of 200 rows that count'
    """
    over = now >= demand.deadline
    if error is not None:
        return StepVerdict(outcome=StepOutcome.ERROR, missing=None, over=True)
    if evidence is not None and evidence.broken:
        return StepVerdict(outcome=StepOutcome.HARMFUL, missing=None, over=True)
    n = 0 if evidence is None else evidence.n
    missing = []
    if n < demand.least:
        missing.append(f"{demand.least - n} of {demand.least} rows that count")
    elif evidence is not None and not evidence.keeps:
        missing.append("rows that speak for it: their estimate is on the wrong side of the promise")
    if now < demand.lasts_until:
        missing.append(f"the time until {demand.lasts_until:%Y-%m-%d %H:%M} UTC")
    if missing:
        return StepVerdict(outcome=StepOutcome.INCONCLUSIVE, missing=" and ".join(missing), over=over)
    return StepVerdict(outcome=StepOutcome.PASSED, missing=None, over=over)

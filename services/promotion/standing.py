"""Where a rollout stands: which step, since when, what it has to show, and what was seen so far.

The assignment says which challenger decides which share; since when, and what each look saw, is
read from the promotion history, a row for every step and every look. Nothing else is kept.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from evidence.bounds.fewest_rows import fewest_rows
from evidence.certification.step import StepDemand, StepVerdict, step_verdict
from knowgate._bundles.assignment import Assignment
from knowgate._records.records import Window
from knowgate._wire import codec
from knowgate.spec import CascadeSpec
from monitoring.alarms.step_looks import StepLook
from monitoring.words import short, to_tenths
from store.releases import promotions
from store.releases.promotions import Outcome, PromotionRecord

_STEPS = (Outcome.SHADOWED, Outcome.SHARED)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCheck:
    """A step as a row of the promotion history keeps it."""

    share: float
    verdict: StepVerdict
    demand: StepDemand
    look: StepLook | None  # the newest; None = none was made yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A rollout at one step."""

    bundle: str
    share: float  # of the queries that it decides; 0 = beside what is in force
    number: int  # of the step, from 1
    of: int  # steps in all, the last of which puts it in force
    began_at: datetime  # the step
    counts_from: datetime  # decisions from here on count: since it decides any at all, or since the shadow began
    demand: StepDemand
    last_look: StepLook | None  # on what counts
    looks: int  # in the whole rollout

    def window(self, mature_until: datetime) -> Window | None:
        """The decisions that may be judged; None while none is old enough."""
        return Window(start=self.counts_from, end=mature_until) if mature_until > self.counts_from else None

    def verdict(self, *, now: datetime) -> StepVerdict:
        """How the step stands by its newest look."""
        return step_verdict(self.demand, None if self.last_look is None else self.last_look.evidence, now=now)

    def sentence(self, *, now: datetime) -> str:
        """The step in words."""
        what = "beside what is in force" if self.share == 0.0 else f"{to_tenths(self.share)} of the queries"
        n = 0 if self.last_look is None else self.last_look.n
        seen = f"{n} of {self.demand.least} rows count so far"
        missing = self.verdict(now=now).missing
        waits = "" if missing is None else f"; it waits for {missing}, until {self.demand.deadline:%Y-%m-%d %H:%M} UTC"
        step = f"Step {self.number} of {self.of}: bundle {short(self.bundle)} decides {what}"
        return f"{step} since {self.began_at:%Y-%m-%d %H:%M} UTC; {seen}{waits}."


def standing_of(session: Session, current: Assignment, spec: CascadeSpec) -> Standing | None:
    """Where the rollout stands; None where there is none."""
    if current.challenger is None:
        return None
    run = _run(promotions.promotions(session, current.cascade), current.challenger)
    steps = [record for record in run if record.outcome in _STEPS]
    if not steps:
        return None
    step, shared = steps[-1], [record for record in steps if record.outcome is Outcome.SHARED]
    counts_from = shared[0].decided_at if shared else step.decided_at
    looks = [look for look in map(_look, run) if look is not None]
    on_these = [look for look in looks if look.window.start == counts_from]
    return Standing(
        bundle=current.challenger,
        share=current.share,
        number=len(steps),
        of=len(steps) + sum(current.share < share < 1.0 for share in spec.promotion.steps) + 1,
        began_at=step.decided_at,
        counts_from=counts_from,
        demand=demand_of(spec, step.decided_at, max(1, len(shared))),
        last_look=on_these[-1] if on_these else None,
        looks=max((look.look for look in looks), default=0),
    )


def demand_of(spec: CascadeSpec, began_at: datetime, shares: int) -> StepDemand:
    """What a step has to show that began then, the `shares`-th in which its decisions count."""
    targets, promotion = spec.targets, spec.promotion
    least = promotion.least or 2 * fewest_rows(targets.allowed, targets.delta)
    return StepDemand(
        least=least * shares, lasts_until=began_at + promotion.dwell, deadline=began_at + promotion.deadline
    )


def _run(records: tuple[PromotionRecord, ...], challenger: str) -> list[PromotionRecord]:
    """The rows of the rollout under way, oldest first."""
    run: list[PromotionRecord] = []
    for record in reversed([one for one in records if one.bundle == challenger]):
        if record.outcome not in (*_STEPS, Outcome.HELD_BACK):
            break
        run.insert(0, record)
    return run


def _look(record: PromotionRecord) -> StepLook | None:
    look = json.loads(record.check).get("look")
    return None if look is None else codec.decode(StepLook, look)

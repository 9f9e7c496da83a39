"""The rollout of a challenger, moved on by the `promote` job: a look where one is due, and what
follows from it. Judged and swapped in one transaction, as a promotion check is.

What cannot be judged ends the rollout: a challenger that cannot be read, that a runtime refuses, or
whose certificate has lapsed meanwhile.
"""

import logging
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from evidence.bounds.spending import delta_for_attempt
from evidence.certification.step import StepOutcome, step_verdict
from knowgate._bundles.assignment import Assignment
from knowgate._bundles.bundle import Bundle, read_bundle
from knowgate.errors import BundleRefused
from knowgate.spec import CascadeSpec
from monitoring.alarms.step_looks import StepLook, look_is_due
from monitoring.words import short
from services.jobs.job import JobContext
from services.promotion import steps
from services.promotion.generations import hold_back
from services.promotion.holds import hold_of
from services.promotion.lapses import lapse_of
from services.promotion.promotion import Ground
from services.promotion.ring_answers import in_force
from services.promotion.standing import Standing, StepCheck, standing_of
from store.engine import reading, transaction
from store.errors import BundleDamaged
from store.releases import assignments, bundles, cascades
from store.traffic import decisions

log = logging.getLogger("knowgate.jobs")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A step at one time."""

    generation: int
    standing: Standing
    error: str | None  # why it cannot be judged
    look: StepLook | None  # one that was made now


def continue_rollout(context: JobContext, cascade: str) -> int | None:
    """Move the rollout of a cascade on; how many rows were written. None where there is none."""
    seen = _see(context, cascade)
    if seen is None:
        return None
    now = context.clock.now()
    with transaction(context.engine) as session:
        current = in_force(session, cascade, context.settings, now=now)
        if current.generation != seen.generation:
            return 0  # a ring or a person ended it meanwhile
        standing, look = seen.standing, seen.look or seen.standing.last_look
        evidence = None if look is None else look.evidence
        verdict = step_verdict(standing.demand, evidence, now=now, error=seen.error)
        check = StepCheck(share=standing.share, verdict=verdict, demand=standing.demand, look=look)
        hold = hold_of(session, current, now=now)
        held = hold is not None and hold.ground is not Ground.AWAITS_APPROVAL  # it was approved when it began
        if verdict.outcome is StepOutcome.PASSED and not held:
            steps.advance(session, current, context.settings, check, now=now)
        elif verdict.ends:
            why = steps.declined(check, seen.error)
            steps.abort(session, current, context.settings, why, now=now)
            log.warning("the rollout of bundle %s of %s ended: %s", short(standing.bundle), cascade, why.reason)
        elif seen.look is not None:
            why = steps.waiting(check, None if hold is None else hold.why)
            hold_back(session, current, standing.bundle, why, now=now)
        else:
            return 0
    return 1


def _see(context: JobContext, cascade: str) -> _Seen | None:
    now = context.clock.now()
    with reading(context.engine) as session:
        current = assignments.assignment(session, cascade)
        if current is None or current.challenger is None:
            return None
        spec = cascades.cascade(session, cascade)
        standing = standing_of(session, current, spec)
        if standing is None:
            return None
        bundle, error = _readable(session, current, standing, spec, now)
        window = standing.window(now - spec.horizon)
        own = standing.bundle if standing.share > 0.0 else None
        count = 0 if window is None else decisions.count_between(session, cascade, window, bundle=own)
    due = window is not None and look_is_due(standing.last_look, count, standing.demand, now=now)
    if bundle is None or error is not None or window is None or not due:
        return _Seen(generation=current.generation, standing=standing, error=error, look=None)
    from monitoring.alarms.step_rows import look_at_step
    from monitoring.watching.reader import Reader  # pandas and scipy: not for every tick

    number = standing.looks + 1
    look = look_at_step(
        Reader(context.engine, cascade, now=now).cohort(window),
        bundle,
        decides=standing.share > 0.0,
        look=number,
        level=delta_for_attempt(spec.targets.delta, number),
        at=now,
    )
    return _Seen(generation=current.generation, standing=standing, error=None, look=look)


def _readable(
    session: Session, current: Assignment, standing: Standing, spec: CascadeSpec, now: datetime
) -> tuple[Bundle | None, str | None]:
    """The challenger, and why it may not be tried any further."""
    try:
        bundle = read_bundle(bundles.bundle_content(session, standing.bundle), expected_id=standing.bundle)
    except (BundleDamaged, BundleRefused) as damage:
        return None, str(damage)
    refusing = [said for said in assignments.acknowledgements(session, spec.name) if not said.accepted]
    refused = next((said for said in refusing if said.generation == current.generation), None)
    if refused is not None:
        return bundle, f"runtime {refused.runtime} refuses it: {refused.detail}"
    attempts, created = bundles.bundles(session, spec.name), bundle.document.created_at
    every = spec.schedule.train_every
    return bundle, lapse_of(bundle.document, attempts, in_force_since=created, every=every, now=now)

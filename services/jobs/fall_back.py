"""After a stop by the risk alarm: looks at what the cascade may fall back to
(`services.promotion.fallback`), and lets it decide where it is shown to keep the promise.
"""

import logging

from knowgate._bundles.bundle import read_bundle
from knowgate.errors import BundleRefused, RecordInvalid
from monitoring.words import short
from services.errors import Refused
from services.jobs.job import JobContext
from services.promotion import rollout
from services.promotion.fallback import FallbackCheck, fallback_is_due, harmed, most_cautious
from services.promotion.generations import hold_back
from services.promotion.rollout_state import Why
from store.engine import reading, transaction
from store.errors import BundleDamaged, GenerationMoved, RecordUnreadable
from store.releases import assignments, bundles, cascades
from store.releases.rings import RingRecord

log = logging.getLogger("knowgate.jobs")


def fall_back(context: JobContext, cascade: str) -> int:
    """Answer a stop by a fallback where that is due; how many rows were written."""
    now = context.clock.now()
    with reading(context.engine) as session:
        try:
            current, spec = assignments.assignment(session, cascade), cascades.cascade(session, cascade)
        except (RecordInvalid, RecordUnreadable):
            return 0  # it stays stopped; what answers its rings says why
        ring = None if current is None else fallback_is_due(session, current, spec, now=now)
        if current is None or ring is None:
            return 0
        candidate = most_cautious(session, current, spec, now=now)
    check = _look(context, cascade, None if candidate is None else candidate.id, ring)
    why = Why(reason=_reason(check), check=check)
    try:
        with transaction(context.engine) as session:
            if check.shown and check.fallback is not None:
                rollout.fall_back(session, current, check.fallback, context.settings, why, now=now)
            else:
                hold_back(session, current, check.fallback, why, now=now)
    except (GenerationMoved, Refused) as moved:
        log.info("%s moved while a fallback was looked for: %s", cascade, moved)
        return 0
    log.warning("%s: %s", cascade, why.reason)
    return 1


def _look(context: JobContext, cascade: str, candidate: str | None, ring: RingRecord) -> FallbackCheck:
    none = FallbackCheck(fallback=candidate, rang_at=ring.rang_at, look=None)
    if candidate is None:
        return none
    with reading(context.engine) as session:
        try:
            bundle = read_bundle(bundles.bundle_content(session, candidate), expected_id=candidate)
        except (BundleDamaged, BundleRefused):
            return none
    from monitoring.alarms.since_ring import look_since_ring
    from monitoring.watching.reader import Reader  # pandas and scipy: not for every tick

    reader = Reader(context.engine, cascade, now=context.clock.now())
    level = reader.spec.targets.delta
    look = look_since_ring(reader.cohort(harmed(ring)), bundle, rang_at=ring.rang_at, look=1, level=level)
    return FallbackCheck(fallback=candidate, rang_at=ring.rang_at, look=look)


def _reason(check: FallbackCheck) -> str:
    if check.fallback is None:
        return "nothing to fall back to: no certificate holds that keeps less than what was stopped"
    name, look = f"bundle {short(check.fallback)}", check.look
    if look is None or look.estimate is None:
        return f"no fallback: nothing is known of what {name} would have kept of the decisions that rang"
    seen = (
        f"on {look.n} of the decisions that rang {name} would be at {look.estimate:+.4f}, promised {look.target_value}"
    )
    return f"{seen}: shown to keep the promise" if check.shown else f"no fallback: {seen}, which shows too little"

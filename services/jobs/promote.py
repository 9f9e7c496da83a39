"""`promote`: judges every certified bundle that nobody has judged (`services.promotion.judging`),
and puts the one that passes in force.

- Of several that wait the newest is judged; the others are superseded. So are all that are older
  than an attempt that certified nothing, where the promise is rolling or the season another one.
- What lapses (`services.promotion.lapses`) is stopped first, also while the cascade is frozen.
- A bundle that waits for decisions since an alarm is looked at again when enough have come
  (`monitoring.alarms.looks`).
- Judged and swapped in one transaction: a check and what follows from it are never apart.
"""

import logging

from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Mode
from knowgate._bundles.bundle import read_bundle, read_document
from knowgate.errors import BundleRefused, RecordInvalid
from knowgate.spec import PromiseKind
from monitoring.alarms.looks import SinceRing, next_look, next_window
from monitoring.words import short
from services.errors import Refused
from services.jobs.job import JobContext
from services.jobs.respond import answer_waiting
from services.jobs.rollout_steps import continue_rollout
from services.promotion import generations, rollout
from services.promotion.champions import last_ring
from services.promotion.judging import Verdict, judge, last_look, refused_for_its_sake, stands_alone, waiting
from services.promotion.lapses import CERTIFIED_NOTHING, certificate_of, counting, lapse_of, season_of
from services.promotion.promotion import Ground
from services.promotion.rollout_state import Why
from store.engine import reading, transaction
from store.errors import BundleDamaged, GenerationMoved, RecordUnreadable
from store.releases import assignments, bundles, cascades, promotions
from store.releases.bundles import BundleRecord
from store.traffic import decisions

log = logging.getLogger("knowgate.jobs")


class PromoteSweep:
    """Judges what waits, cascade by cascade."""

    name = "promote"

    def run(self, context: JobContext) -> int:
        with reading(context.engine) as session:
            names = cascades.cascade_names(session)
        return sum(_check_or_leave(context, name) for name in names)


def _check_or_leave(context: JobContext, cascade: str) -> int:
    """A cascade that cannot be read waits until it can, and no other waits for it."""
    try:
        return _check_cascade(context, cascade)
    except RecordUnreadable as error:
        log.error("no bundle of %s is judged: %s", cascade, error)
    except (GenerationMoved, Refused) as moved:
        log.info("%s moved while a bundle was judged (%s): it is judged at the next tick", cascade, moved)
    return 0


def _check_cascade(context: JobContext, cascade: str) -> int:
    """How many bundles something new was said of. Rings are answered first, so that the order of
    jobs is no matter.
    """
    answer_waiting(context, cascade)
    judged = _let_lapse(context, cascade)
    rolled_out = continue_rollout(context, cascade)
    if rolled_out is not None:  # others wait until it has ended
        return judged + rolled_out
    with reading(context.engine) as session:
        certified = waiting(session, cascade)
        refused = refused_for_its_sake(session, cascade)
        failed = _certified_nothing_since(session, cascade, certified)
    if failed is not None:
        return judged + _supersede(context, (failed, *certified), "which was trained later and certified nothing")
    for number, record in enumerate((*certified[:1], *refused)):
        verdict = check_bundle(context, record.id)
        if number == 0 and certified:
            judged += _supersede(context, certified)
        judged += verdict.news
        if verdict.check.ground in (Ground.FIT, Ground.AWAITS_APPROVAL):
            break
    return judged


def check_bundle(context: JobContext, bundle_id: str, *, by: str | None = None) -> Verdict:
    """Judge one bundle, and put it in force or state why not, or what it waits for.

    Raises BundleUnknown, and Refused for one that carries no certificate or was judged before.
    """
    look, now = _look(context, bundle_id), context.clock.now()
    with transaction(context.engine) as session:
        return judge(session, bundle_id, context.settings, look=look, by=by, now=now)


def _let_lapse(context: JobContext, cascade: str) -> int:
    """Stop what promised for a time that is over; how many."""
    with transaction(context.engine) as session:
        current, now = assignments.assignment(session, cascade), context.clock.now()
        if current is None or current.champion is None or current.mode is not Mode.ACTIVE:
            return 0
        moves = [record for record in promotions.promotions(session, cascade) if record.outcome.moves]
        try:
            champion = read_document(bundles.bundle(session, current.champion).document)
        except (BundleRefused, RecordInvalid):
            return 0  # a damaged one decides nothing
        lapse = lapse_of(
            champion,
            bundles.bundles(session, cascade),
            in_force_since=moves[-1].decided_at if moves else current.issued_at,
            every=cascades.cascade(session, cascade).schedule.train_every,
            now=now,
        )
        if lapse is None:
            return 0
        rollout.stop(session, current, context.settings, Why(reason=lapse), now=now)
    log.warning("%s keeps nothing: %s", cascade, lapse)
    return 1


def _certified_nothing_since(session: Session, cascade: str, those: tuple[BundleRecord, ...]) -> BundleRecord | None:
    """The newest attempt, where it is newer than all those that wait and certified nothing for a
    rolling promise, or for another season than the newest of them.
    """
    newest = next(counting(bundles.bundles(session, cascade)), None)
    if not those or newest is None or newest.status not in CERTIFIED_NOTHING:
        return None
    certificate = certificate_of(newest)
    if certificate is None:
        return None
    other_season = certificate.season is not None and certificate.season != season_of(those[0])
    return newest if certificate.promise is PromiseKind.ROLLING or other_season else None


def _supersede(context: JobContext, certified: tuple[BundleRecord, ...], how: str = "which was trained later") -> int:
    newest, *older = certified
    with transaction(context.engine) as session:
        for record in older:
            why = Why(reason=f"superseded by {short(newest.id)}, {how}")
            current = assignments.assignment(session, record.cascade)
            generations.refuse(session, current, record.id, why, now=context.clock.now())
    return len(older)


def _look(context: JobContext, bundle_id: str) -> SinceRing | None:
    """The newest look at a bundle on the decisions after the last ring: a new one where it is due,
    else the one before.

    None where there was no ring, where the bundle fails already for another reason, or where it is
    too early.
    """
    now = context.clock.now()
    with reading(context.engine) as session:
        record = bundles.bundle(session, bundle_id)
        current = assignments.assignment(session, record.cascade)
        ring = last_ring(session, record.cascade)
        if current is None or ring is None or not stands_alone(session, record, current, ring, now):
            return None
        spec = cascades.cascade(session, record.cascade)
        before = last_look(promotions.promotions(session, record.cascade), bundle_id, ring)
        window = next_window(ring.read_until, before, now - spec.horizon)
        count = 0 if window is None else decisions.count_between(session, record.cascade, window)
        observed = 1.0 if current.mode is Mode.ACTIVE else current.exploration_rate
        due = next_look(before, count, spec.targets.delta, observed=observed)
        if window is None or due is None:
            return before
        try:
            bundle = read_bundle(bundles.bundle_content(session, bundle_id), expected_id=bundle_id)
        except (BundleDamaged, BundleRefused):
            return before  # the check says so
    from monitoring.alarms.since_ring import look_since_ring
    from monitoring.watching.reader import Reader  # pandas and scipy: not for every tick

    look, level = due
    cohort = Reader(context.engine, record.cascade, now=now).cohort(window)
    return look_since_ring(cohort, bundle, rang_at=ring.rang_at, look=look, level=level)

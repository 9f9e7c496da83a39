"""`promote`: judges every certified bundle that nobody has judged, and puts the one that passes in
force.

- Of several that wait the newest is judged; the others are superseded. So are all that are older
  than an attempt that certified nothing, where the promise is rolling or the season another one.
- What lapses (`services.promotion.lapses`) is stopped first.
- Once a risk alarm has stopped the champion, bundles that were refused for its sake alone are
  judged again, newest first: what they had to show against it they need not show any more.
- A bundle that waits (for decisions since the alarm, or for a person) keeps its status and is
  looked at again. It is said once, and at each look (`monitoring.alarms.looks`).
- Judged and swapped in one transaction: a check and what follows from it are never apart.
"""

import json
import logging
from dataclasses import dataclass

from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment, Mode
from knowgate._bundles.bundle import read_bundle, read_document
from knowgate._wire import codec
from knowgate.errors import BundleRefused, RecordInvalid
from knowgate.spec import PromiseKind
from monitoring.alarms.looks import SinceRing, next_look, next_window
from services.errors import Refused
from services.jobs.job import JobContext
from services.jobs.respond import answer_waiting
from services.promotion import generations, ring_answers, rollout
from services.promotion.bundle_files import sealed_document
from services.promotion.champions import STOPPED_BY_ALARM, condemned, last_ring, stop_in_force, waits_for_person
from services.promotion.lapses import CERTIFIED_NOTHING, certificate_of, counting, lapse_of, season_of
from services.promotion.promotion import (
    Ground,
    PromotionCheck,
    check_damaged,
    check_promotion,
    refused_for_the_champion,
)
from services.promotion.rollout_state import Why
from store.engine import reading, transaction
from store.errors import BundleDamaged, GenerationMoved, RecordUnreadable
from store.releases import assignments, bundles, cascades, promotions
from store.releases.bundles import BundleRecord, BundleStatus
from store.releases.promotions import Outcome, PromotionRecord
from store.releases.rings import RingRecord
from store.traffic import decisions

log = logging.getLogger("knowgate.jobs")

JUDGED_AGAIN_AT_MOST = 10  # refused bundles, the newest: older ones speak of other times


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
    except GenerationMoved as moved:
        log.info("%s moved while a bundle was judged (%s): it is judged at the next tick", cascade, moved)
    return 0


def _check_cascade(context: JobContext, cascade: str) -> int:
    """How many bundles something new was said of. Rings are answered first, so that the order of
    jobs is no matter.
    """
    answer_waiting(context, cascade)
    judged = _let_lapse(context, cascade)
    with reading(context.engine) as session:
        waiting = _waiting(session, cascade)
        refused = _refused_for_the_champion(session, cascade)
        failed = _certified_nothing_since(session, cascade, waiting)
    if failed is not None:
        return judged + _supersede(context, (failed, *waiting), "which was trained later and certified nothing")
    for number, record in enumerate((*waiting[:1], *refused)):
        verdict = check_bundle(context, record.id)
        if number == 0 and waiting:
            judged += _supersede(context, waiting)
        judged += verdict.news
        if verdict.check.passed:
            break
    return judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A check, and whether it said anything new: a bundle that waits as before is not written down
    again.
    """

    check: PromotionCheck
    news: bool


def check_bundle(context: JobContext, bundle_id: str, *, by: str | None = None) -> Verdict:
    """Check one bundle, and put it in force or state why not, or what it waits for.

    Raises BundleUnknown, and Refused for one that carries no certificate or was judged before.
    """
    look = _look(context, bundle_id)
    now = context.clock.now()
    with transaction(context.engine) as session:
        record = bundles.bundle(session, bundle_id)
        current = ring_answers.in_force(session, record.cascade, context.settings, now=now)
        if record.status is not BundleStatus.CERTIFIED and record.id not in _ids_refused(session, record.cascade):
            condition = "only a certified one that nobody judged is judged"
            raise Refused(
                f"bundle {bundle_id[:12]} is {record.status}: {condition}; `--reason` puts it in force unjudged"
            )
        ring, stop = last_ring(session, record.cascade), stop_in_force(session, current)
        if look is not None and (ring is None or look.rang_at != ring.rang_at):
            look = None  # it rang again meanwhile
        try:
            document = sealed_document(session, bundle_id)
        except (BundleDamaged, BundleRefused) as error:
            check = check_damaged(current, str(error))
        else:
            person = waits_for_person(session, current)
            check = check_promotion(document, current, person=person, ring=ring, since=look)
        why = Why(reason=check.reason, check=check, by=by)
        if check.passed:
            rollout.promote(session, current, bundle_id, context.settings, why, now=now)
        elif not check.waits:
            generations.refuse(session, current, bundle_id, why, now=now)
        elif not _said(session, record, check, ring, stop):
            generations.hold_back(session, current, bundle_id, why, now=now)
        else:
            return Verdict(check=check, news=False)
    return Verdict(check=check, news=True)


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


def _certified_nothing_since(session: Session, cascade: str, waiting: tuple[BundleRecord, ...]) -> BundleRecord | None:
    """The newest attempt, where it is newer than all that wait and certified nothing for a rolling
    promise, or for another season than the newest of them.
    """
    newest = next(counting(bundles.bundles(session, cascade)), None)
    if not waiting or newest is None or newest.status not in CERTIFIED_NOTHING:
        return None
    certificate = certificate_of(newest)
    if certificate is None:
        return None
    other_season = certificate.season is not None and certificate.season != season_of(waiting[0])
    return newest if certificate.promise is PromiseKind.ROLLING or other_season else None


def _supersede(context: JobContext, waiting: tuple[BundleRecord, ...], how: str = "which was trained later") -> int:
    newest, *older = waiting
    with transaction(context.engine) as session:
        for record in older:
            why = Why(reason=f"superseded by {newest.id[:12]}, {how}")
            current = assignments.assignment(session, record.cascade)
            generations.refuse(session, current, record.id, why, now=context.clock.now())
    return len(older)


def _waiting(session: Session, cascade: str) -> tuple[BundleRecord, ...]:
    """Bundles that nobody has judged to an end, newest first."""
    return tuple(one for one in bundles.bundles(session, cascade) if one.status is BundleStatus.CERTIFIED)


def _refused_for_the_champion(session: Session, cascade: str) -> tuple[BundleRecord, ...]:
    """Bundles to be judged again since a risk alarm has stopped the champion, newest first; none
    where none did.
    """
    current = assignments.assignment(session, cascade)
    stop = None if current is None else stop_in_force(session, current)
    if stop is None or stop.decided_by is not None or not stop.reason.startswith(STOPPED_BY_ALARM):
        return ()
    against = condemned(session, cascade)
    since_then = {
        record.bundle
        for record in promotions.promotions(session, cascade)
        if record.outcome is Outcome.REFUSED and record.decided_at > stop.decided_at
    }
    refused = [
        record
        for record in bundles.bundles(session, cascade)
        if record.status is BundleStatus.REFUSED
        and record.id not in since_then
        and record.id not in against
        and _was_refused_for_the_champion(record)
    ]
    return tuple(refused[:JUDGED_AGAIN_AT_MOST])


def _was_refused_for_the_champion(record: BundleRecord) -> bool:
    try:
        return refused_for_the_champion(read_document(record.document))
    except (BundleRefused, RecordInvalid):
        return False  # a damaged one is refused for that


def _ids_refused(session: Session, cascade: str) -> set[str]:
    return {record.id for record in _refused_for_the_champion(session, cascade)}


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
        if current is None or ring is None or not _stands_alone(session, record, current, ring):
            return None
        spec = cascades.cascade(session, record.cascade)
        before = _last_look(promotions.promotions(session, record.cascade), bundle_id, ring)
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


def _stands_alone(session: Session, record: BundleRecord, current: Assignment, ring: RingRecord) -> bool:
    """Whether the ring alone stands between the bundle and being in force."""
    person = waits_for_person(session, current)
    try:
        document = read_document(record.document)
    except (BundleRefused, RecordInvalid):
        return False  # the check says so
    return check_promotion(document, current, person=person, ring=ring).ground is Ground.RISK_ALARM


def _last_look(records: tuple[PromotionRecord, ...], bundle_id: str, ring: RingRecord) -> SinceRing | None:
    for record in reversed(records):
        if record.outcome is Outcome.HELD_BACK and record.bundle == bundle_id and record.decided_at >= ring.rang_at:
            look = json.loads(record.check).get("since")
            if look is not None:
                return codec.decode(SinceRing, look)
    return None


def _said(
    session: Session,
    record: BundleRecord,
    check: PromotionCheck,
    ring: RingRecord | None,
    stop: PromotionRecord | None,
) -> bool:
    """Whether the same wait was written down since what it waits for came about."""
    began = ring.rang_at if check.ground is Ground.RISK_ALARM and ring is not None else None
    began = stop.decided_at if began is None and stop is not None else began
    for earlier in reversed(promotions.promotions(session, record.cascade)):
        if earlier.bundle != record.id or earlier.outcome is not Outcome.HELD_BACK:
            continue
        if began is not None and earlier.decided_at < began:
            return False
        said = json.loads(earlier.check)
        return bool(said.get("ground") == check.ground.value and said.get("since") == codec.encode(check.since))
    return False

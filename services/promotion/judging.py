"""One challenger judged, and what follows from it in the same transaction: it comes into force, is
refused, or waits. And what a person says of one that waits: approved, or declined.

- A bundle that waits (for decisions since an alarm, for the end of a freeze, or for a person) keeps
  its status and is judged again. That it waits is said once, and at each look.
- Once a risk alarm has stopped the champion, bundles that were refused for its sake alone are
  judged again, newest first: what they had to show against it they need not show any more. One that
  a person declined is not.
- An approval is no way around the check: what does not pass is not approved. Whoever wants it all
  the same says so (`services.promotion.rollout.choose`).
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment
from knowgate._bundles.bundle import read_document
from knowgate._wire import codec
from knowgate.errors import BundleRefused, RecordInvalid
from monitoring.alarms.looks import SinceRing
from monitoring.words import short
from services.errors import Refused
from services.promotion import generations
from services.promotion.bundle_files import sealed_document
from services.promotion.champions import STOPPED_BY_ALARM, condemned, last_ring, stop_in_force
from services.promotion.holds import hold_of
from services.promotion.promotion import (
    Ground,
    Hold,
    PromotionCheck,
    check_failed,
    check_promotion,
    refused_for_the_champion,
)
from services.promotion.ring_answers import in_force
from services.promotion.rollout_state import Why
from services.promotion.steps import abort, introduce
from services.settings import Settings
from store.errors import BundleDamaged
from store.releases import assignments, bundles, promotions
from store.releases.bundles import BundleRecord, BundleStatus
from store.releases.promotions import Outcome, PromotionRecord
from store.releases.rings import RingRecord

JUDGED_AGAIN_AT_MOST = 10  # refused bundles, the newest: older ones speak of other times


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A check, and whether it said anything new: a bundle that waits as before is not written down
    again.
    """

    check: PromotionCheck
    news: bool


def judge(
    session: Session, bundle_id: str, settings: Settings, *, look: SinceRing | None, by: str | None, now: datetime
) -> Verdict:
    """Judge one bundle, and put it in force or state why not, or what it waits for.

    `look` is the newest one at it since the last ring. Raises BundleUnknown, and Refused for one
    that carries no certificate or was judged before.
    """
    record = bundles.bundle(session, bundle_id)
    current = in_force(session, record.cascade, settings, now=now)
    if not _may_be_judged(session, record):
        condition = "only a certified one that nobody judged is judged"
        unjudged = "`--reason` puts it in force unjudged"
        raise Refused(f"bundle {short(bundle_id)} is {record.status}: {condition}; {unjudged}")
    ring, stop = last_ring(session, record.cascade), stop_in_force(session, current)
    if look is not None and (ring is None or look.rang_at != ring.rang_at):
        look = None  # it rang again meanwhile
    check = _checked(session, bundle_id, current, hold_of(session, current, now=now), look)
    against = condemned(session, record.cascade).get(bundle_id)
    if against is not None and by is None:  # it was tried, and what it decided speaks against it
        check = check_failed(current, Ground.CONDEMNED, f"it is condemned by {against}")
    why = Why(reason=check.reason, check=check, by=by)
    if check.passed:
        introduce(session, current, bundle_id, settings, why, now=now)
    elif not check.waits:
        generations.refuse(session, current, bundle_id, why, now=now)
    elif not _said(session, record, check, ring, stop):
        generations.hold_back(session, current, bundle_id, why, now=now)
    else:
        return Verdict(check=check, news=False)
    return Verdict(check=check, news=True)


def approve(
    session: Session, current: Assignment, bundle_id: str, settings: Settings, why: Why, *, now: datetime
) -> Assignment:
    """Put a challenger in force that passes the check and waits for a person's word.

    Raises BundleUnknown, and Refused for one of another cascade, one that does not wait, and one
    that does not pass.
    """
    check = _check_of_waiting(session, current, bundle_id)
    if not check.passed:
        cure = f"`knowgate promote {short(bundle_id)} --reason TEXT` puts it in force all the same"
        raise Refused(f"bundle {short(bundle_id)} is not approved, it does not pass the check ({check.reason}): {cure}")
    return introduce(session, current, bundle_id, settings, replace(why, check=check), now=now)


def decline(
    session: Session, current: Assignment, bundle_id: str, settings: Settings, why: Why, *, now: datetime
) -> None:
    """State that a challenger that waits, or is being tried, is not to come into force; no job
    judges it again.

    Raises BundleUnknown, and Refused for one of another cascade, and one that does not wait.
    """
    check = replace(_check_of_waiting(session, current, bundle_id), passed=False, ground=Ground.DECLINED)
    declined = replace(why, check=check)
    if current.challenger == bundle_id:
        abort(session, current, settings, declined, now=now)
    else:
        generations.refuse(session, current, bundle_id, declined, now=now)


def awaiting(session: Session, cascade: str) -> PromotionRecord | None:
    """What was said of the newest challenger, where it passed and awaits a person's approval."""
    newest = next(iter((*waiting(session, cascade), *refused_for_its_sake(session, cascade))), None)
    if newest is None:
        return None
    said = [one for one in promotions.promotions(session, cascade) if one.bundle == newest.id]
    return said[-1] if said and _ground_of(said[-1]) == Ground.AWAITS_APPROVAL else None


def waiting(session: Session, cascade: str) -> tuple[BundleRecord, ...]:
    """Bundles that nobody has judged to an end, newest first."""
    return tuple(one for one in bundles.bundles(session, cascade) if one.status is BundleStatus.CERTIFIED)


def refused_for_its_sake(session: Session, cascade: str) -> tuple[BundleRecord, ...]:
    """Bundles to be judged again since a risk alarm has stopped the champion, newest first; none
    where none did.
    """
    current = assignments.assignment(session, cascade)
    stop = None if current is None else stop_in_force(session, current)
    if stop is None or stop.decided_by is not None or not stop.reason.startswith(STOPPED_BY_ALARM):
        return ()
    against = condemned(session, cascade)
    settled = {
        record.bundle
        for record in promotions.promotions(session, cascade)
        if record.outcome in (Outcome.REFUSED, Outcome.ABORTED)
        and (record.decided_at > stop.decided_at or _ground_of(record) == Ground.DECLINED)
    }
    refused = [
        record
        for record in bundles.bundles(session, cascade)
        if record.status is BundleStatus.REFUSED
        and record.id not in settled
        and record.id not in against
        and _was_refused_for_the_champion(record)
    ]
    return tuple(refused[:JUDGED_AGAIN_AT_MOST])


def stands_alone(session: Session, record: BundleRecord, current: Assignment, ring: RingRecord, now: datetime) -> bool:
    """Whether the ring alone stands between the bundle and being in force, or a person's word."""
    try:
        document = read_document(record.document)
    except (BundleRefused, RecordInvalid):
        return False  # the check says so
    hold = hold_of(session, current, now=now)
    return check_promotion(document, current, hold=hold, ring=ring).ground is Ground.RISK_ALARM


def last_look(records: tuple[PromotionRecord, ...], bundle_id: str, ring: RingRecord) -> SinceRing | None:
    """The newest look at a bundle on the decisions after the ring; None where there was none."""
    for record in reversed(records):
        if record.outcome is Outcome.HELD_BACK and record.bundle == bundle_id and record.decided_at >= ring.rang_at:
            look = json.loads(record.check).get("since")
            if look is not None:
                return codec.decode(SinceRing, look)
    return None


def _check_of_waiting(session: Session, current: Assignment, bundle_id: str) -> PromotionCheck:
    """What the check says of a challenger that waits, a person's word aside."""
    record = bundles.bundle(session, bundle_id)
    if record.cascade != current.cascade:
        raise Refused(f"bundle {short(bundle_id)} is of cascade {record.cascade}, not of {current.cascade}")
    if not _may_be_judged(session, record):
        raise Refused(f"bundle {short(bundle_id)} is {record.status}: only a certified one that waits is answered so")
    ring = last_ring(session, current.cascade)
    look = None if ring is None else last_look(promotions.promotions(session, current.cascade), bundle_id, ring)
    return _checked(session, bundle_id, current, None, look)


def _checked(
    session: Session, bundle_id: str, current: Assignment, hold: Hold | None, look: SinceRing | None
) -> PromotionCheck:
    try:
        document = sealed_document(session, bundle_id)
    except (BundleDamaged, BundleRefused) as error:
        return check_failed(current, Ground.DAMAGED, str(error))
    ring = last_ring(session, current.cascade)
    return check_promotion(document, current, hold=hold, ring=ring, since=look)


def _ground_of(record: PromotionRecord) -> str | None:
    ground = json.loads(record.check).get("ground")
    return None if ground is None else str(ground)


def _was_refused_for_the_champion(record: BundleRecord) -> bool:
    try:
        return refused_for_the_champion(read_document(record.document))
    except (BundleRefused, RecordInvalid):
        return False  # a damaged one is refused for that


def _may_be_judged(session: Session, record: BundleRecord) -> bool:
    again = refused_for_its_sake(session, record.cascade)
    return record.status is BundleStatus.CERTIFIED or record.id in {one.id for one in again}


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

"""Rings of the risk alarm, answered: each stops whatever decides, and no other move is made before
those that wait are answered.
"""

from datetime import datetime

from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment
from knowgate.errors import RecordInvalid
from knowgate.spec import OnRisk
from services.promotion.champions import STOPPED_BY_ALARM
from services.promotion.generations import declare
from services.promotion.rollout import stop
from services.promotion.rollout_state import State, Why, described, state_of
from services.promotion.steps import abort
from services.settings import Settings
from store.releases import assignments, cascades, promotions, rings
from store.releases.rings import RingRecord


def in_force(session: Session, cascade: str, settings: Settings, *, now: datetime) -> Assignment:
    """The assignment as it stands once every ring that waits is answered: what a move starts from.

    Raises CascadeUnknown.
    """
    cascades.cascade_version(session, cascade)
    answer_rings(session, cascade, settings, now=now)
    current = assignments.assignment(session, cascade)
    return current or declare(session, cascades.cascade(session, cascade), settings, now=now)


def answer_rings(session: Session, cascade: str, settings: Settings, *, now: datetime) -> int:
    """Act on every ring of the risk alarm that nobody has acted on, against whatever decides now;
    how many stopped it.

    Whether the champion is older than what the ring speaks of does not matter: the promise is the
    cascade's. One that was only reported, of an alert that is open still, is acted on once the
    cascade asks for more, unless something was moved since it rang.
    """
    stopped = 0
    for ring in rings.unanswered(session, rings.RISK, cascade):
        current = assignments.assignment(session, cascade)
        stops = _stops(session, cascade)
        if ring.answer is not None and (not stops or _moved_since(session, ring)):
            continue
        if not stops:
            _abort_rollout(session, current, settings, ring, now=now)
            rings.answer_ring(session, ring, rings.TOLD, now=now)
        elif current is None or state_of(current) is not State.ACTIVE:
            _abort_rollout(session, current, settings, ring, now=now)
            rings.answer_ring(session, ring, "nothing was kept", now=now)
        else:
            why = Why(reason=f"{STOPPED_BY_ALARM}{ring.cause}")
            fresh = stop(session, current, settings, why, now=now)
            rings.answer_ring(session, ring, described(fresh), now=now, stopped=current.champion)
            stopped += 1
    return stopped


def _abort_rollout(
    session: Session, current: Assignment | None, settings: Settings, ring: RingRecord, *, now: datetime
) -> None:
    """What a ring does in any case. The challenger is judged again: a stop ends a rollout as well,
    and after a ring every bundle waits for evidence since.
    """
    if current is not None and current.challenger is not None:
        why = Why(reason=f"{STOPPED_BY_ALARM}{ring.cause}")
        abort(session, current, settings, why, now=now, refused=False)


def _moved_since(session: Session, ring: RingRecord) -> bool:
    records = promotions.promotions(session, ring.cascade)
    return any(record.outcome.moves and record.decided_at > ring.rang_at for record in records)


def _stops(session: Session, cascade: str) -> bool:
    """Whether the cascade asks to be stopped; one whose declaration cannot be read is, and keeps no
    other from it.
    """
    try:
        return cascades.cascade(session, cascade).alarms.on_risk is not OnRisk.ALERT
    except RecordInvalid:
        return True

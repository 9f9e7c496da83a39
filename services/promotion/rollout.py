"""What is in force, as one small state machine: every path that changes it is a move here, and
nothing else is.

    observing ──promote, resume──▶ active ──stop──▶ stopped
      ▲  ▲                          │  ▲              │  │
      │  └──observe, roll back──────┘  └──promote, ───┘  │
      │                                   resume,        │
      │                                   fall back      │
      └──observe, roll back──────────────────────────────┘

- A cascade begins observing. Observe: a person. Stop: a ring of the risk alarm, or a person.
  Promote: a check that passed, or a person's word. Resume: a person; the champion decides (again),
  or, where there is none, the newest certified bundle. Roll back: a person; to the newest former
  champion that is not condemned, else to observing.
- Observing and stopped keep nothing: the last tier answers at once, the others are observed. What a
  person stopped or put back to be observed, no job starts again.
- Before a move is made, the rings that wait are answered (`services.promotion.ring_answers`): it
  does not matter which job or person comes first.
- A condemned bundle (`services.promotion.champions`) comes into force on purpose only, with the
  reason on record.
- In any of them a challenger may be tried in steps (`services.promotion.steps`): beside what is in
  force, then on a share of the queries. Every other move ends that.
- Every move is one new generation of the assignment (`services.promotion.generations`), by
  compare-and-swap, with who and why. A caller that read a generation which has moved on meanwhile
  gets GenerationMoved and changes nothing.
docs/rollout.md tells it to users; tests/services/promotion/test_state_machine.py walks it.
"""

from dataclasses import replace
from datetime import datetime

from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment, Mode
from monitoring.words import short
from services.errors import Refused
from services.promotion.bundle_files import sealed_document
from services.promotion.champions import (
    condemned,
    former_champions,
    last_ring,
    stop_in_force,
    was_in_force,
)
from services.promotion.generations import move
from services.promotion.holds import hold_of
from services.promotion.promotion import Ground, check_promotion
from services.promotion.rollout_state import State, Why, state_of
from services.settings import Settings
from store.releases import bundles
from store.releases.bundles import BundleStatus
from store.releases.promotions import Outcome


def promote(
    session: Session, current: Assignment, bundle_id: str, settings: Settings, why: Why, *, now: datetime
) -> Assignment:
    """Make `bundle_id` the champion in place of the one that decides now, and let it decide.

    Raises Refused where a job would start what waits for a person (`services.promotion.holds`), or
    would put a condemned bundle in force.
    """
    require_startable(session, current, bundle_id, why, now=now)
    if state_of(current) is State.ACTIVE and current.champion == bundle_id:
        raise Refused(f"bundle {short(bundle_id)} is in force already")
    return move(session, current, settings, Outcome.PROMOTED, why, champion=bundle_id, mode=Mode.ACTIVE, now=now)


def require_startable(session: Session, current: Assignment, bundle_id: str, why: Why, *, now: datetime) -> None:
    """Raises Refused where a job would start what waits for a person, or would let a condemned
    bundle decide anything. One whose rollout has begun was approved before that.
    """
    hold = hold_of(session, current, now=now) if why.by is None else None
    begun = current.challenger == bundle_id
    if hold is not None and not (begun and hold.ground is Ground.AWAITS_APPROVAL):
        raise Refused(f"{current.cascade}: {hold.why}; a person starts it")
    _require_blameless(session, current.cascade, bundle_id, why, f"`--reason … --despite-alarm REASON` {_ALL_THE_SAME}")


def choose(
    session: Session, current: Assignment, bundle_id: str, settings: Settings, why: Why, *, now: datetime
) -> Assignment:
    """Put a certified bundle in force on a person's word; what the promotion check says is kept
    beside the reason.

    Raises Refused for one of another cascade, one without a certificate, a condemned one, and the
    one that decides.
    """
    record = bundles.bundle(session, bundle_id)
    if record.cascade != current.cascade:
        raise Refused(f"bundle {short(bundle_id)} is of cascade {record.cascade}, not of {current.cascade}")
    check = check_promotion(sealed_document(session, bundle_id), current, ring=last_ring(session, current.cascade))
    if check.ground is Ground.NOT_CERTIFIED:
        raise Refused(f"bundle {short(bundle_id)} is not promoted: {check.reason}, and nobody's word makes up for it")
    return promote(session, current, bundle_id, settings, replace(why, check=check), now=now)


def roll_back(
    session: Session,
    current: Assignment,
    settings: Settings,
    why: Why,
    *,
    now: datetime,
    to: str | None = None,
    past_condemned: bool = False,
) -> Assignment:
    """Put a former champion back in force; without one, the cascade is observed.

    It is the one before the present; with `past_condemned` the newest that is not condemned; or
    `to`, named. Raises Refused where there is no champion, where that one is condemned, or where
    `to` never was in force.
    """
    cascade = current.cascade
    if current.champion is None:
        raise Refused(f"cascade {cascade} has no champion: there is nothing to roll back")
    former = former_champions(session, current)
    against = condemned(session, cascade)
    blameless = next((bundle for bundle in former if bundle not in against), None)
    target = to or (blameless if past_condemned else next(iter(former), None))
    if to is not None and (to == current.champion or not was_in_force(session, cascade, to)):
        raise Refused(f"bundle {short(to)} is no former champion of {cascade}: `knowgate promote` puts others in force")
    if target is not None:
        beyond = f"escalates everything to the last tier, since {_none_left(former)}"
        beyond = beyond if blameless is None else f"puts {short(blameless)} in force"
        cure = f"`--past-condemned` {beyond}; `--to {short(target)} --despite-alarm REASON` {_ALL_THE_SAME}"
        _require_blameless(session, cascade, target, why, cure)
    mode = Mode.OBSERVE if target is None else Mode.ACTIVE
    return move(session, current, settings, Outcome.ROLLED_BACK, why, champion=target, mode=mode, now=now)


def observe(session: Session, current: Assignment, settings: Settings, why: Why, *, now: datetime) -> Assignment:
    """Keep nothing from now on, on a person's word, and observe; the champion is kept, and decides
    again once something is promoted or resumed.

    Raises Refused where a person has put it back to be observed already.
    """
    before = stop_in_force(session, current)
    if current.mode is Mode.OBSERVE and before is not None:
        raise Refused(f"cascade {current.cascade} is observed already ({before.reason})")
    champion = current.champion
    return move(session, current, settings, Outcome.OBSERVED, why, champion=champion, mode=Mode.OBSERVE, now=now)


def stop(session: Session, current: Assignment, settings: Settings, why: Why, *, now: datetime) -> Assignment:
    """Retain nothing from now on; the champion is kept, and decides again once something is
    promoted or resumed.

    Raises Refused where a person stopped it already.
    """
    stopped = stop_in_force(session, current)
    is_stopped = state_of(current) is State.STOPPED and stopped is not None
    if is_stopped and stopped is not None and (why.by is None or stopped.decided_by is not None):
        raise Refused(f"cascade {current.cascade} is stopped already ({stopped.reason})")
    champion = current.champion
    return move(session, current, settings, Outcome.STOPPED, why, champion=champion, mode=Mode.ESCALATE_ALL, now=now)


def resume(session: Session, current: Assignment, settings: Settings, why: Why, *, now: datetime) -> Assignment:
    """Switch a cascade on that is stopped or observed: its champion decides again, or, where it has
    none, the newest certified bundle does.

    Raises Refused where something decides, where nothing is certified, and where what would decide
    is condemned.
    """
    cascade, champion = current.cascade, current.champion
    if state_of(current) is State.ACTIVE:
        raise Refused(f"cascade {cascade} is not stopped, and not observed: there is nothing to resume")
    if champion is None:
        certified = (one for one in bundles.bundles(session, cascade) if one.status is BundleStatus.CERTIFIED)
        newest = next(certified, None)
        if newest is not None:
            return choose(session, current, newest.id, settings, why, now=now)
        if state_of(current) is State.OBSERVING:
            raise Refused(f"cascade {cascade} has no certified bundle yet: there is nothing to switch on")
        return move(session, current, settings, Outcome.RESUMED, why, champion=None, mode=Mode.OBSERVE, now=now)
    _require_blameless(session, cascade, champion, why, f"`--despite-alarm REASON` {_ALL_THE_SAME}")
    return move(session, current, settings, Outcome.RESUMED, why, champion=champion, mode=Mode.ACTIVE, now=now)


def fall_back(
    session: Session, current: Assignment, bundle_id: str, settings: Settings, why: Why, *, now: datetime
) -> Assignment:
    """After a ring has stopped the cascade, let a more cautious bundle decide that was shown to
    keep the promise (`services.promotion.fallback`).

    Raises Refused where the cascade is not stopped, and for a condemned bundle.
    """
    if state_of(current) is not State.STOPPED:
        raise Refused(f"cascade {current.cascade} is not stopped: there is nothing to fall back from")
    _require_blameless(session, current.cascade, bundle_id, why, "a person puts it in force, or nobody")
    return move(session, current, settings, Outcome.FELL_BACK, why, champion=bundle_id, mode=Mode.ACTIVE, now=now)


_ALL_THE_SAME = "puts it in force all the same"


def _require_blameless(session: Session, cascade: str, bundle_id: str, why: Why, cure: str) -> None:
    if why.despite_alarm is not None:
        return
    against = condemned(session, cascade).get(bundle_id)
    if against is not None:
        raise Refused(f"bundle {short(bundle_id)} is condemned by {against}: {cure}")


def _none_left(former: tuple[str, ...]) -> str:
    return "every former champion is condemned" if former else "there is no former champion"

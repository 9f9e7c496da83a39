"""What is in force, as one small state machine: every path that changes it is a move here, and
nothing else is.

    observing ──promote, resume──▶ active ──stop──▶ stopped
      ▲  ▲                          │  ▲              │  │
      │  └──observe, roll back──────┘  └──promote, ───┘  │
      │                                   resume         │
      └──observe, roll back──────────────────────────────┘

- A cascade begins observing. Observe: a person. Stop: a ring of the risk alarm, or a person.
  Promote: a check that passed, or a person's word. Resume: a person; the champion decides (again),
  or, where there is none, the newest certified bundle. Roll back: a person; to the newest former
  champion that is not condemned, else to observing.
- Observing and stopped keep nothing: the last tier answers at once, the others are observed. What a
  person stopped or put back to be observed, no job starts again.
- Before a move is made, the rings that wait are answered: it does not matter which job or person
  comes first.
- A condemned bundle (`services.promotion.champions`) comes into force on purpose only, with the
  reason on record.
- Every move is one new generation of the assignment, by compare-and-swap, with who and why. A
  caller that read a generation which has moved on meanwhile gets GenerationMoved and changes
  nothing.
docs/rollout.md tells it to users; tests/services/promotion/test_state_machine.py walks it.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from knowgate._bundles import signing
from knowgate._bundles.assignment import Assignment, Mode
from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from knowgate.spec import CascadeSpec, OnRisk
from services.errors import Refused
from services.promotion.bundle_files import sealed_document
from services.promotion.champions import (
    STOPPED_BY_ALARM,
    condemned,
    former_champions,
    last_ring,
    stop_in_force,
    waits_for_person,
    was_in_force,
)
from services.promotion.promotion import Ground, check_promotion
from services.promotion.rollout_state import State, Why, coins_of, state_of
from services.settings import Settings
from store.errors import RecordUnreadable
from store.releases import assignments, bundles, cascades, promotions, rings
from store.releases.bundles import BundleStatus
from store.releases.promotions import Outcome, PromotionRecord
from store.releases.rings import RingRecord


def declare(session: Session, spec: CascadeSpec, settings: Settings, *, now: datetime) -> Assignment:
    """The first assignment of a cascade, which observes; later, the cascade's changed rates."""
    current = assignments.assignment(session, spec.name)
    if current is None:
        first = Assignment(
            cascade=spec.name,
            generation=1,
            mode=Mode.OBSERVE,
            champion=None,
            issued_at=now,
            valid_until=now + settings.assignment_lease,
            **coins_of(spec, Mode.OBSERVE, None),
        )
        assignments.swap_assignment(session, first, expected_generation=None, now=now)
        return first
    exploration = coins_of(spec, current.mode, current.champion)
    if all(getattr(current, name) == value for name, value in exploration.items()):
        return current
    return _swap(session, current, now, settings.assignment_lease, **exploration)


def promote(
    session: Session, current: Assignment, bundle_id: str, settings: Settings, why: Why, *, now: datetime
) -> Assignment:
    """Make `bundle_id` the champion in place of the one that decides now, and let it decide.

    Raises Refused where a job would start what a person stopped, or would put a condemned bundle in
    force.
    """
    person = waits_for_person(session, current) if why.by is None else None
    if person is not None:
        raise Refused(f"{current.cascade}: {person}; a person starts it")
    _require_blameless(session, current.cascade, bundle_id, why, f"`--reason … --despite-alarm REASON` {_ALL_THE_SAME}")
    if state_of(current) is State.ACTIVE and current.champion == bundle_id:
        raise Refused(f"bundle {bundle_id[:12]} is in force already")
    return _move(session, current, settings, Outcome.PROMOTED, why, champion=bundle_id, mode=Mode.ACTIVE, now=now)


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
        raise Refused(f"bundle {bundle_id[:12]} is of cascade {record.cascade}, not of {current.cascade}")
    check = check_promotion(sealed_document(session, bundle_id), current, ring=last_ring(session, current.cascade))
    if check.ground is Ground.NOT_CERTIFIED:
        raise Refused(f"bundle {bundle_id[:12]} is not promoted: {check.reason}, and nobody's word makes up for it")
    return promote(session, current, bundle_id, settings, replace(why, check=check), now=now)


def refuse(session: Session, current: Assignment | None, bundle_id: str, why: Why, *, now: datetime) -> None:
    """State why `bundle_id` is not promoted."""
    bundles.set_bundle_status(session, bundle_id, BundleStatus.REFUSED)
    _record(session, current, bundle_id, Outcome.REFUSED, why, now, cascade=bundles.bundle(session, bundle_id).cascade)


def hold_back(session: Session, current: Assignment, bundle_id: str, why: Why, *, now: datetime) -> None:
    """State what `bundle_id` waits for; it is judged again, so its status stays."""
    _record(session, current, bundle_id, Outcome.HELD_BACK, why, now, cascade=current.cascade)


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
        raise Refused(f"bundle {to[:12]} is no former champion of {cascade}: `knowgate promote` puts others in force")
    if target is not None:
        beyond = f"escalates everything to the last tier, since {_none_left(former)}"
        beyond = beyond if blameless is None else f"puts {blameless[:12]} in force"
        cure = f"`--past-condemned` {beyond}; `--to {target[:12]} --despite-alarm REASON` {_ALL_THE_SAME}"
        _require_blameless(session, cascade, target, why, cure)
    mode = Mode.OBSERVE if target is None else Mode.ACTIVE
    return _move(session, current, settings, Outcome.ROLLED_BACK, why, champion=target, mode=mode, now=now)


def observe(session: Session, current: Assignment, settings: Settings, why: Why, *, now: datetime) -> Assignment:
    """Keep nothing from now on, on a person's word, and observe; the champion is kept, and decides
    again once something is promoted or resumed.

    Raises Refused where a person has put it back to be observed already.
    """
    before = stop_in_force(session, current)
    if current.mode is Mode.OBSERVE and before is not None:
        raise Refused(f"cascade {current.cascade} is observed already ({before.reason})")
    champion = current.champion
    return _move(session, current, settings, Outcome.OBSERVED, why, champion=champion, mode=Mode.OBSERVE, now=now)


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
    return _move(session, current, settings, Outcome.STOPPED, why, champion=champion, mode=Mode.ESCALATE_ALL, now=now)


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
        return _move(session, current, settings, Outcome.RESUMED, why, champion=None, mode=Mode.OBSERVE, now=now)
    _require_blameless(session, cascade, champion, why, f"`--despite-alarm REASON` {_ALL_THE_SAME}")
    return _move(session, current, settings, Outcome.RESUMED, why, champion=champion, mode=Mode.ACTIVE, now=now)


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
            rings.answer_ring(session, ring, rings.TOLD, now=now)
        elif current is None or state_of(current) is not State.ACTIVE:
            rings.answer_ring(session, ring, "nothing was kept", now=now)
        else:
            why = Why(reason=f"{STOPPED_BY_ALARM}{ring.cause}")
            fresh = stop(session, current, settings, why, now=now)
            answer = f"stopped by generation {fresh.generation}"
            rings.answer_ring(session, ring, answer, now=now, stopped=current.champion)
            stopped += 1
    return stopped


_ALL_THE_SAME = "puts it in force all the same"


def _require_blameless(session: Session, cascade: str, bundle_id: str, why: Why, cure: str) -> None:
    if why.despite_alarm is not None:
        return
    against = condemned(session, cascade).get(bundle_id)
    if against is not None:
        raise Refused(f"bundle {bundle_id[:12]} is condemned by {against}: {cure}")


def _moved_since(session: Session, ring: RingRecord) -> bool:
    records = promotions.promotions(session, ring.cascade)
    return any(record.outcome.moves and record.decided_at > ring.rang_at for record in records)


def _none_left(former: tuple[str, ...]) -> str:
    return "every former champion is condemned" if former else "there is no former champion"


def _stops(session: Session, cascade: str) -> bool:
    """Whether the cascade asks to be stopped; one whose declaration cannot be read is, and keeps no
    other from it.
    """
    try:
        return cascades.cascade(session, cascade).alarms.on_risk is OnRisk.ESCALATE_ALL
    except RecordInvalid:
        return True


def _move(
    session: Session,
    current: Assignment,
    settings: Settings,
    outcome: Outcome,
    why: Why,
    *,
    champion: str | None,
    mode: Mode,
    now: datetime,
) -> Assignment:
    """One move: the swap, the signature, the two bundles' statuses and the record of it."""
    if champion is not None and mode is Mode.ACTIVE:
        bundles.bundle_content(session, champion)  # a damaged one decides nothing: refused by name
        if settings.signing_key is not None:
            bundles.sign_bundle(session, champion, signing.sign_bundle(settings.signing_key, champion))
    coins = _coins(session, current.cascade, mode, champion)
    fresh = _swap(session, current, now, settings.assignment_lease, champion=champion, mode=mode, **coins)
    if current.champion is not None and current.champion != champion:
        bundles.set_bundle_status(session, current.champion, BundleStatus.RETIRED)
    if champion is not None and outcome in (Outcome.PROMOTED, Outcome.ROLLED_BACK):
        bundles.set_bundle_status(session, champion, BundleStatus.PROMOTED)
    decides = champion if mode is Mode.ACTIVE else None
    _record(session, current, decides, outcome, why, now, cascade=current.cascade, generation=fresh.generation)
    return fresh


def _coins(session: Session, cascade: str, mode: Mode, champion: str | None) -> dict[str, Any]:
    """How much is explored from now on; as before where the declaration cannot be read, since a
    stop must not wait for that.
    """
    try:
        return coins_of(cascades.cascade(session, cascade), mode, champion)
    except RecordUnreadable:
        return {}


def _swap(session: Session, current: Assignment, now: datetime, lease: timedelta, **changes: object) -> Assignment:
    fresh = replace(
        current,
        generation=current.generation + 1,
        issued_at=now,
        valid_until=now + lease,
        challenger=None,
        share=0.0,
        signature=None,
        **changes,  # type: ignore[arg-type]
    )
    assignments.swap_assignment(session, fresh, expected_generation=current.generation, now=now)
    return fresh


def _record(
    session: Session,
    current: Assignment | None,
    bundle_id: str | None,
    outcome: Outcome,
    why: Why,
    now: datetime,
    *,
    cascade: str,
    generation: int | None = None,
) -> None:
    promotions.add_promotion(
        session,
        PromotionRecord(
            cascade=cascade,
            bundle=bundle_id,
            previous=None if current is None else current.champion,
            outcome=outcome,
            reason=why.recorded,
            check=_json(why.check),
            generation=generation,
            decided_at=now,
            decided_by=why.by,
        ),
    )


def _json(check: object) -> str:
    return "{}" if check is None else codec.canonical(check).decode()

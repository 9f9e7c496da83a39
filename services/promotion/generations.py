"""One new generation of the assignment: the swap, the signature, the two bundles' statuses and the
record of who and why. What a cascade starts with, and what is recorded without a move, is here too.

Which moves there are, and what each needs, is `services.promotion.rollout`'s.
"""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from knowgate._bundles import signing
from knowgate._bundles.assignment import Assignment, Mode
from knowgate._wire import codec
from knowgate.spec import CascadeSpec
from monitoring.alerts.moves import announce_move
from monitoring.words import short
from services.promotion.rollout_state import Why, coins_of
from services.settings import Settings
from store.errors import RecordUnreadable
from store.releases import assignments, bundles, cascades, promotions
from store.releases.bundles import BundleStatus
from store.releases.promotions import Outcome, PromotionRecord


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
    challenger = {"challenger": current.challenger, "share": current.share}
    return _swap(session, current, now, settings.assignment_lease, **exploration, **challenger)


def apply_spec(session: Session, spec: CascadeSpec, settings: Settings, *, now: datetime) -> tuple[int, bool]:
    """Put a declaration in force: its version, and whether it is another than before."""
    before = cascades.cascade_version(session, spec.name) if spec.name in cascades.cascade_names(session) else 0
    version = cascades.apply_cascade(session, spec, now=now)
    declare(session, spec, settings, now=now)
    return version, version != before


def move(
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
        _make_ready(session, champion, settings)
    coins = _coins(session, current.cascade, mode, champion)
    fresh = _swap(session, current, now, settings.assignment_lease, champion=champion, mode=mode, **coins)
    if current.champion is not None and current.champion != champion:
        bundles.set_bundle_status(session, current.champion, BundleStatus.RETIRED)
    if champion is not None and outcome in (Outcome.PROMOTED, Outcome.ROLLED_BACK, Outcome.FELL_BACK):
        bundles.set_bundle_status(session, champion, BundleStatus.PROMOTED)
    decides = champion if mode is Mode.ACTIVE else None
    _record(session, current, decides, outcome, why, now, cascade=current.cascade, generation=fresh.generation)
    if current.challenger not in (None, champion):  # a rollout ends with whatever else is put in force
        ended = Why(reason=f"{outcome.value.replace('_', ' ')}: {why.recorded}", by=why.by)
        _record_of_challenger(session, current, Outcome.ABORTED, ended, now, fresh)
    return fresh


def share_out(
    session: Session,
    current: Assignment,
    settings: Settings,
    why: Why,
    *,
    challenger: str,
    share: float,
    now: datetime,
) -> Assignment:
    """Let `challenger` decide `share` of the queries beside the champion; at 0 it only stands by.

    Where nothing was kept, nothing else is: the other queries go to the last tier.
    """
    _make_ready(session, challenger, settings)
    beside_nothing = share > 0.0 and current.mode is not Mode.ACTIVE
    mode, champion = (Mode.ACTIVE, None) if beside_nothing else (current.mode, current.champion)
    coins = _coins(session, current.cascade, mode, champion)
    changes = {"mode": mode, "champion": champion, "challenger": challenger, "share": share}
    fresh = _swap(session, current, now, settings.assignment_lease, **changes, **coins)
    if current.champion is not None and champion is None:
        bundles.set_bundle_status(session, current.champion, BundleStatus.RETIRED)
    if current.challenger not in (None, challenger):
        ended = Why(reason=f"bundle {short(challenger)} is tried in its place: {why.recorded}", by=why.by)
        generation, cascade = fresh.generation, current.cascade
        _record(
            session, current, current.challenger, Outcome.ABORTED, ended, now, cascade=cascade, generation=generation
        )
    outcome = Outcome.SHARED if share > 0.0 else Outcome.SHADOWED
    _record_of_challenger(session, current, outcome, why, now, fresh)
    return fresh


def take_back(
    session: Session, current: Assignment, settings: Settings, why: Why, *, now: datetime, refused: bool
) -> Assignment:
    """End the rollout: the challenger decides nothing any more, and what is in force beside it
    stays. `refused` = it is not judged again.
    """
    alone = current.mode is Mode.ACTIVE and current.champion is None
    mode = Mode.OBSERVE if alone else current.mode
    coins = _coins(session, current.cascade, mode, current.champion)
    fresh = _swap(session, current, now, settings.assignment_lease, mode=mode, **coins)
    if refused and current.challenger is not None:
        bundles.set_bundle_status(session, current.challenger, BundleStatus.REFUSED)
    _record_of_challenger(session, current, Outcome.ABORTED, why, now, fresh)
    return fresh


def refuse(session: Session, current: Assignment | None, bundle_id: str, why: Why, *, now: datetime) -> None:
    """State why `bundle_id` is not promoted."""
    bundles.set_bundle_status(session, bundle_id, BundleStatus.REFUSED)
    _record(session, current, bundle_id, Outcome.REFUSED, why, now, cascade=bundles.bundle(session, bundle_id).cascade)


def hold_back(session: Session, current: Assignment, bundle_id: str | None, why: Why, *, now: datetime) -> None:
    """State what `bundle_id` waits for, or what was found of it; its status stays."""
    _record(session, current, bundle_id, Outcome.HELD_BACK, why, now, cascade=current.cascade)


def _make_ready(session: Session, bundle_id: str, settings: Settings) -> None:
    """Sign what is to decide. A damaged one decides nothing: refused by name."""
    bundles.bundle_content(session, bundle_id)
    if settings.signing_key is not None:
        bundles.sign_bundle(session, bundle_id, signing.sign_bundle(settings.signing_key, bundle_id))


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
        signature=None,
        **({"challenger": None, "share": 0.0} | changes),  # type: ignore[arg-type]
    )
    assignments.swap_assignment(session, fresh, expected_generation=current.generation, now=now)
    return fresh


def _record_of_challenger(
    session: Session, current: Assignment, outcome: Outcome, why: Why, now: datetime, fresh: Assignment
) -> None:
    """What became of a rollout: of the challenger from now on, or until now."""
    bundle = fresh.challenger or current.challenger
    _record(session, current, bundle, outcome, why, now, cascade=current.cascade, generation=fresh.generation)


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
    record = PromotionRecord(
        cascade=cascade,
        bundle=bundle_id,
        previous=None if current is None else current.champion,
        outcome=outcome,
        reason=why.recorded,
        check=_json(why.check),
        generation=generation,
        decided_at=now,
        decided_by=why.by,
    )
    key = promotions.add_promotion(session, record)
    with suppress(RecordUnreadable):  # nobody knows who hears of it, and a stop must not wait for that
        announce_move(session, cascades.cascade(session, cascade), record, key, now=now)


def _json(check: object) -> str:
    return "{}" if check is None else codec.canonical(check).decode()

"""One new generation of the assignment: the swap, the signature, the two bundles' statuses and the
record of who and why. What a cascade starts with, and what is recorded without a move, is here too.

Which moves there are, and what each needs, is `services.promotion.rollout`'s.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from knowgate._bundles import signing
from knowgate._bundles.assignment import Assignment, Mode
from knowgate._wire import codec
from knowgate.spec import CascadeSpec
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
    return _swap(session, current, now, settings.assignment_lease, **exploration)


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


def refuse(session: Session, current: Assignment | None, bundle_id: str, why: Why, *, now: datetime) -> None:
    """State why `bundle_id` is not promoted."""
    bundles.set_bundle_status(session, bundle_id, BundleStatus.REFUSED)
    _record(session, current, bundle_id, Outcome.REFUSED, why, now, cascade=bundles.bundle(session, bundle_id).cascade)


def hold_back(session: Session, current: Assignment, bundle_id: str, why: Why, *, now: datetime) -> None:
    """State what `bundle_id` waits for; it is judged again, so its status stays."""
    _record(session, current, bundle_id, Outcome.HELD_BACK, why, now, cascade=current.cascade)


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

"""Every change of what is in force: one new generation of the assignment, by compare-and-swap, with its reason.

Nothing else swaps an assignment. A caller that read a generation which has moved on meanwhile gets GenerationMoved
and changes nothing.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from knowgate import codec, signing
from knowgate.assignment import Assignment, Mode
from knowgate.spec import CascadeSpec
from services.errors import Refused
from services.settings import Settings
from store import assignments, bundles, cascades, promotions
from store.bundles import BundleStatus
from store.promotions import Outcome, PromotionRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """What a change of the assignment rests on."""

    reason: str
    check: object = None  # the promotion check, where there was one


def declare(session: Session, spec: CascadeSpec, settings: Settings, *, now: datetime) -> Assignment:
    """The first assignment of a cascade, which keeps nothing; later, the cascade's changed exploration rate."""
    held = assignments.assignment(session, spec.name)
    if held is None:
        first = Assignment(
            cascade=spec.name,
            generation=1,
            mode=Mode.ACTIVE,
            champion=None,
            exploration_rate=spec.exploration_rate,
            exploration_extra=spec.exploration_extra,
            exploration_width=spec.exploration_width,
            issued_at=now,
            valid_until=now + settings.assignment_lease,
        )
        assignments.swap_assignment(session, first, expected_generation=None, now=now)
        return first
    exploration = {
        "exploration_rate": spec.exploration_rate,
        "exploration_extra": spec.exploration_extra,
        "exploration_width": spec.exploration_width,
    }
    if all(getattr(held, name) == value for name, value in exploration.items()):
        return held
    return _swap(session, held, now, settings.assignment_lease, **exploration)


def promote(session: Session, held: Assignment, bundle_id: str, settings: Settings, why: Why, *, now: datetime) -> None:
    """Make `bundle_id` the champion in place of the one in `held`, and let it decide."""
    if settings.signing_key is not None:
        bundles.sign_bundle(session, bundle_id, signing.sign_bundle(settings.signing_key, bundle_id))
    fresh = _swap(session, held, now, settings.assignment_lease, champion=bundle_id, mode=Mode.ACTIVE)
    if held.champion is not None:
        bundles.set_bundle_status(session, held.champion, BundleStatus.RETIRED)
    bundles.set_bundle_status(session, bundle_id, BundleStatus.PROMOTED)
    _record(session, held, bundle_id, Outcome.PROMOTED, why, fresh.generation, now)


def refuse(session: Session, held: Assignment | None, bundle_id: str, why: Why, *, now: datetime) -> None:
    """State why `bundle_id` is not promoted."""
    record = bundles.bundle(session, bundle_id)
    bundles.set_bundle_status(session, bundle_id, BundleStatus.REFUSED)
    promotions.add_promotion(
        session,
        PromotionRecord(
            cascade=record.cascade,
            bundle=bundle_id,
            previous=None if held is None else held.champion,
            outcome=Outcome.REFUSED,
            reason=why.reason,
            check=_json(why.check),
            generation=None,
            decided_at=now,
        ),
    )


def roll_back(session: Session, cascade: str, settings: Settings, why: Why, *, now: datetime) -> Assignment:
    """Put the champion before the present one back in force; without one, nothing is retained.

    Raises Refused where the cascade has no champion.
    """
    cascades.cascade_version(session, cascade)
    held = assignments.assignment(session, cascade)
    if held is None or held.champion is None:
        raise Refused(f"cascade {cascade} has no champion: there is nothing to roll back")
    previous = previous_champion(session, held)
    fresh = _swap(session, held, now, settings.assignment_lease, champion=previous, mode=Mode.ACTIVE)
    bundles.set_bundle_status(session, held.champion, BundleStatus.RETIRED)
    if previous is not None:
        bundles.set_bundle_status(session, previous, BundleStatus.PROMOTED)
    _record(session, held, previous, Outcome.ROLLED_BACK, why, fresh.generation, now)
    return fresh


def stop(session: Session, held: Assignment, settings: Settings, why: Why, *, now: datetime) -> Assignment:
    """Retain nothing from now on; the champion is kept, and decides again once something is promoted."""
    fresh = _swap(session, held, now, settings.assignment_lease, mode=Mode.ESCALATE_ALL)
    _record(session, held, None, Outcome.ROLLED_BACK, why, fresh.generation, now)
    return fresh


def champion_since(session: Session, held: Assignment) -> datetime | None:
    """When the present champion came into force; None where no promotion says so."""
    for record in reversed(promotions.promotions(session, held.cascade)):
        if record.outcome is not Outcome.REFUSED and record.bundle == held.champion:
            return record.decided_at
    return None


def previous_champion(session: Session, held: Assignment) -> str | None:
    """The bundle that decided before the present champion was promoted; None where there was none."""
    for record in reversed(promotions.promotions(session, held.cascade)):
        if record.outcome is Outcome.PROMOTED and record.bundle == held.champion:
            return record.previous
    return None


def _swap(session: Session, held: Assignment, now: datetime, lease: timedelta, **changes: object) -> Assignment:
    if changes.get("champion") is not None:
        bundles.bundle_content(session, str(changes["champion"]))  # a damaged one decides nothing: refused by name
    fresh = replace(
        held,
        generation=held.generation + 1,
        issued_at=now,
        valid_until=now + lease,
        challenger=None,
        share=0.0,
        signature=None,
        **changes,  # type: ignore[arg-type]
    )
    assignments.swap_assignment(session, fresh, expected_generation=held.generation, now=now)
    return fresh


def _record(
    session: Session,
    held: Assignment,
    bundle_id: str | None,
    outcome: Outcome,
    why: Why,
    generation: int,
    now: datetime,
) -> None:
    promotions.add_promotion(
        session,
        PromotionRecord(
            cascade=held.cascade,
            bundle=bundle_id,
            previous=held.champion,
            outcome=outcome,
            reason=why.reason,
            check=_json(why.check),
            generation=generation,
            decided_at=now,
        ),
    )


def _json(check: object) -> str:
    return "{}" if check is None else codec.canonical(check).decode()

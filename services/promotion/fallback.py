"""What a cascade falls back to after a ring of the risk alarm, where `alarms.on_risk = "fallback"`.

The ring stops the cascade as any ring does. Then the most cautious bundle whose certificate holds
is looked at, on the decisions that rang: what it would have lost on them. Where the promise is
shown to be kept there, it decides, and the last tier is spared the rest. Otherwise the cascade
stays stopped. The look comes after the stop, so a fallback never keeps anything that was not shown.

- A certificate holds while it has not lapsed (`services.promotion.lapses`), is of the models and of
  a target at least as strict as are declared, and saves something.
- What is condemned, what was refused for what it loses, and what a person declined is none. Where
  a person has the last word on challengers, only what was in force before is one.
- One look per stop, at the whole δ: of several candidates only the most cautious is asked, by what
  its certificate says that it keeps, so nothing is chosen among labels.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment
from knowgate._bundles.bundle import read_document
from knowgate._bundles.bundle_documents import BundleDocument, CertificateStatus
from knowgate._records.records import Window
from knowgate.errors import BundleRefused, RecordInvalid
from knowgate.spec import Approval, CascadeSpec, OnRisk, TargetKind
from monitoring.alarms.looks import SinceRing
from services.promotion.champions import STOPPED_BY_ALARM, condemned, last_ring, stop_in_force, was_in_force
from services.promotion.holds import hold_of
from services.promotion.lapses import certificate_of, lapse_of
from services.promotion.promotion import Ground, refused_for_the_champion
from services.promotion.rollout_state import State, state_of
from store.releases import bundles, promotions
from store.releases.bundles import BundleRecord, BundleStatus
from store.releases.promotions import Outcome
from store.releases.rings import RingRecord

LOOKS_BACK = timedelta(days=7)  # from the ring, at most

_POSSIBLE = (BundleStatus.RETIRED, BundleStatus.CERTIFIED, BundleStatus.REFUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackCheck:
    """The look at what a cascade might fall back to, as the promotion history keeps it."""

    fallback: str | None  # the bundle; None = there is none
    rang_at: datetime
    look: SinceRing | None

    @property
    def shown(self) -> bool:
        return self.look is not None and self.look.shown


def fallback_is_due(session: Session, current: Assignment, spec: CascadeSpec, *, now: datetime) -> RingRecord | None:
    """The ring whose stop is still to be answered by a fallback; None where there is none, where
    the cascade asks for none, or where a person holds jobs back.
    """
    if spec.alarms.on_risk is not OnRisk.FALLBACK or state_of(current) is not State.STOPPED:
        return None
    stop, ring = stop_in_force(session, current), last_ring(session, current.cascade)
    if stop is None or ring is None or stop.decided_by is not None or not stop.reason.startswith(STOPPED_BY_ALARM):
        return None
    hold = hold_of(session, current, now=now)
    if hold is not None and hold.ground is not Ground.AWAITS_APPROVAL:
        return None
    since = (one for one in promotions.promotions(session, current.cascade) if one.decided_at >= ring.rang_at)
    return None if any("fallback" in json.loads(one.check) for one in since) else ring


def harmed(ring: RingRecord) -> Window:
    """The decisions that rang, of a week at most."""
    since = ring.spoken.since or ring.read_until - LOOKS_BACK
    least = ring.read_until - timedelta(hours=1)
    return Window(start=max(min(since, least), ring.read_until - LOOKS_BACK), end=ring.read_until)


def most_cautious(session: Session, current: Assignment, spec: CascadeSpec, *, now: datetime) -> BundleRecord | None:
    """The bundle that keeps least of those that a fallback may be; None where there is none that
    keeps less than what was stopped.
    """
    records, against = bundles.bundles(session, spec.name), condemned(session, spec.name)
    stopped = next((_kept(one) for one in records if one.id == current.champion), None)
    possible = [
        (kept, record.id, record)
        for record in records
        if record.id not in against
        and record.status in _POSSIBLE
        and (kept := _kept(record)) is not None
        and (stopped is None or kept < stopped)
        and _may(session, record, spec)
        and _holds(record, records, spec, now)
    ]
    return min(possible)[2] if possible else None


def _kept(record: BundleRecord) -> float | None:
    certificate = certificate_of(record)
    return None if certificate is None else certificate.retained_share


def _may(session: Session, record: BundleRecord, spec: CascadeSpec) -> bool:
    """Whether nobody has said no to it."""
    manual = spec.promotion.approval is Approval.MANUAL
    if manual and not was_in_force(session, spec.name, record.id):
        return False
    if record.status is not BundleStatus.REFUSED:
        return True
    document = _document(record)
    refusals = [one for one in promotions.promotions(session, spec.name) if one.bundle == record.id]
    declined = any(json.loads(one.check).get("ground") == Ground.DECLINED for one in refusals)
    aborted = any(one.outcome is Outcome.ABORTED for one in refusals)
    return document is not None and refused_for_the_champion(document) and not (declined or aborted)


def _holds(record: BundleRecord, records: tuple[BundleRecord, ...], spec: CascadeSpec, now: datetime) -> bool:
    document = _document(record)
    certificate = None if document is None else document.certificate
    if document is None or certificate is None or certificate.status is not CertificateStatus.CERTIFIED:
        return False
    targets, drop = spec.targets, certificate.target is TargetKind.MAX_ACCURACY_DROP
    strict = certificate.target_value <= targets.value if drop else certificate.target_value >= targets.value
    if certificate.target is not targets.kind or not strict or (certificate.savings or 0.0) <= 0.0:
        return False
    if document.models != tuple(tier.named_model for tier in spec.tiers):
        return False
    made, every = document.created_at, spec.schedule.train_every
    return lapse_of(document, records, in_force_since=made, every=every, now=now) is None


def _document(record: BundleRecord) -> BundleDocument | None:
    try:
        return read_document(record.document)
    except (BundleRefused, RecordInvalid):
        return None

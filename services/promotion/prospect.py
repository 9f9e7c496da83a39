"""What a cascade that keeps nothing would do if it were switched on, as far as its attempts say:
the same words on its page, on the form that switches it on and in `knowgate advise --cascade`.

They are those of the certificate that would be in force. Nothing looks at a label for it, so
whoever reads it chooses between that certificate and none, and not among looks.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment
from knowgate._bundles.bundle_documents import CertificateDocument, CertificateStatus
from knowgate.spec import OnRisk, TargetKind
from monitoring.words import points, short, to_tenths
from services.promotion.fallback import most_cautious
from services.promotion.lapses import certificate_of
from services.promotion.load import load_of
from services.promotion.rollout_state import State, state_of
from store.jobs import job_runs
from store.releases import bundles, cascades
from store.releases.bundles import BundleRecord, BundleStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What would decide; None where nothing would."""

    bundle: str | None
    certificate: CertificateDocument | None
    labels_needed: int | None  # further labelled decisions, by the last attempt; None = it does not say
    sentence: str


def prospect_of(session: Session, current: Assignment) -> Prospect:
    """What `knowgate cascade resume` would put in force: the champion that is kept, or the newest
    certified bundle.
    """
    records = bundles.bundles(session, current.cascade)
    would = _would_decide(records, current)
    newest = would or next(iter(records), None)
    certificate = None if newest is None else certificate_of(newest)
    needed = _labels_needed(session, current.cascade)
    return Prospect(
        bundle=None if would is None else would.id,
        certificate=certificate,
        labels_needed=needed,
        sentence=_sentence(certificate, needed) if would is None else _of(session, current, would),
    )


def certified_ones(session: Session, cascade: str) -> tuple[BundleRecord, ...]:
    """The bundles that carry a certificate, newest first: what a person may put in force."""
    return tuple(
        one
        for one in bundles.bundles(session, cascade)
        if (certificate := certificate_of(one)) is not None and certificate.status is CertificateStatus.CERTIFIED
    )


def load_if_stopped(session: Session, current: Assignment) -> str | None:
    """How much more the last tier would get if nothing were kept; None where nothing says so."""
    load = load_of(session, current, cascades.cascade(session, current.cascade), None)
    return None if load is None else load.sentence


def after_a_ring(session: Session, current: Assignment, *, now: datetime) -> str | None:
    """What the cascade would fall back to, if the decisions that rang show that it holds, and what
    that would be for the last tier; None where no fallback is asked for, or nothing decides.
    """
    spec = cascades.cascade(session, current.cascade)
    if spec.alarms.on_risk is not OnRisk.FALLBACK or state_of(current) is not State.ACTIVE:
        return None
    candidate = most_cautious(session, current, spec, now=now)
    if candidate is None:
        return "After a ring there is nothing to fall back to, and nothing would be kept."
    load = load_of(session, current, spec, certificate_of(candidate))
    held = f"After a ring bundle {short(candidate.id)} would be looked at, and decide if it is shown to hold."
    return held if load is None else f"{held} {load.sentence}"


def promised_with_load(session: Session, current: Assignment, certificate: CertificateDocument | None) -> str:
    """What a bundle with this certificate would keep, save and promise, and what that would be for
    the last tier.
    """
    if certificate is None or certificate.status is not CertificateStatus.CERTIFIED:
        return promised(certificate)
    load = load_of(session, current, cascades.cascade(session, current.cascade), certificate)
    return promised(certificate) if load is None else f"{promised(certificate)} {load.sentence}"


def _would_decide(records: tuple[BundleRecord, ...], current: Assignment) -> BundleRecord | None:
    if current.champion is not None:
        return next((one for one in records if one.id == current.champion), None)
    return next((one for one in records if one.status is BundleStatus.CERTIFIED), None)


def _labels_needed(session: Session, cascade: str) -> int | None:
    runs = job_runs.job_runs(session, cascade, job="train", limit=1)
    return runs[0].labels_needed if runs else None


def _of(session: Session, current: Assignment, would: BundleRecord) -> str:
    return f"Bundle {short(would.id)} would decide. {promised_with_load(session, current, certificate_of(would))}"


def _sentence(certificate: CertificateDocument | None, needed: int | None) -> str:
    missing = "" if not needed else f" About {needed} more labelled decisions are missing."
    if certificate is None:
        return f"Nothing was attempted yet, so nothing would be kept.{missing}"
    ended = certificate.status.value.replace("_", " ")
    return f"Nothing would be kept: the newest attempt ended as {ended}, on {certificate.n} decisions.{missing}"


def promised(certificate: CertificateDocument | None) -> str:
    """What a bundle with this certificate would keep, save and promise."""
    if certificate is None or certificate.status is not CertificateStatus.CERTIFIED:
        return "It carries no certificate, so nothing is promised."
    kept = "an unknown share" if certificate.retained_share is None else to_tenths(certificate.retained_share)
    saved = "an unknown share"
    if certificate.savings is not None:
        saved = to_tenths(certificate.savings)
        if certificate.savings_low is not None and certificate.savings_high is not None:
            saved += f" ({to_tenths(certificate.savings_low)} to {to_tenths(certificate.savings_high)})"
    drop = certificate.target is TargetKind.MAX_ACCURACY_DROP
    what = "lose at most" if drop else "be right in what is kept in at least"
    value = certificate.target_value
    promise = f"{what} {points(value, digits=1)} points of accuracy" if drop else f"{what} {to_tenths(value)}"
    return (
        f"It would keep {kept} of the queries, save {saved} of the last tier's cost, and {promise}, with confidence "
        f"{to_tenths(1 - certificate.delta)}, shown on {certificate.n:,} decisions."
    )

"""One bundle's page: what it promises in plain words, what that rests on, what became of it, and
what moved against another bundle. And the list of a cascade's bundles.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlsplit

from sqlalchemy.orm import Session

from knowgate._bundles.bundle import read_bundle, read_document
from knowgate._bundles.bundle_documents import BundleDocument, CertificateDocument, CertificateStatus
from knowgate.errors import BundleRefused, RecordInvalid
from knowgate.policy import Gate
from knowgate.spec import CascadeSpec, PromiseKind, TargetKind
from services.jobs.register import TOPIC
from services.pages import numbers
from services.promotion.bundle_files import Difference, differences
from store.errors import BundleDamaged, BundleUnknown
from store.jobs import job_runs
from store.jobs.job_runs import JobRun
from store.jobs.outbox import OutboxMessage, message
from store.releases import assignments, bundles, cascades, promotions
from store.releases.bundles import BundleRecord
from store.releases.promotions import PromotionRecord

_NOTHING = {
    CertificateStatus.INFEASIBLE: "Keeps nothing: no threshold keeps the promise on these decisions.",
    CertificateStatus.INSUFFICIENT_EVIDENCE: "Keeps nothing: too few labelled decisions to promise anything.",
    CertificateStatus.SAVES_NOTHING: "Keeps nothing: what would keep the promise saves nothing.",
}
SIGNALS = {
    "p_t": "probability of its answer",
    "p_ik": "does the small model know?",
    "score": "how sure it is",
    "ood": "unlike what the probe has seen",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One gate of one tier."""

    symbol: str  # p_t, p_ik, score, ood
    name: str
    bound: str  # at least, or at most, so much


@dataclass(frozen=True, slots=True, kw_only=True)
class TierBounds:
    """What one non-last tier keeps."""

    tier: str
    model: str
    bounds: tuple[Bound, ...]  # () = it keeps nothing
    fallback: tuple[Bound, ...]  # where a signal is missing


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleLine:
    """A bundle in a list."""

    record: BundleRecord
    promise: str
    certificate: CertificateDocument | None
    in_force: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlePage:
    """All that the page shows."""

    line: BundleLine
    document: BundleDocument | None  # None = it cannot be read
    damage: str | None  # why
    tiers: tuple[TierBounds, ...]
    moves: tuple[PromotionRecord, ...]  # that speak of it, newest first
    training: JobRun | None  # that made it
    registered: OutboxMessage | None  # in MLflow
    mlflow: str | None  # the address of its model there
    others: tuple[BundleRecord, ...]  # of its cascade, to compare it with
    compared_with: str | None
    moved: tuple[Difference, ...]  # against that one
    not_compared: str | None  # why


def bundle_lines(session: Session, name: str) -> tuple[BundleLine, ...]:
    """The cascade's bundles, newest first. Raises CascadeUnknown, RecordUnreadable."""
    cascades.cascade_version(session, name)
    current = assignments.assignment(session, name)
    champion = None if current is None else current.champion
    return tuple(_line(record, champion) for record in bundles.bundles(session, name))


def bundle_page(session: Session, bundle_id: str, *, beside: str | None, mlflow_url: str) -> BundlePage:
    """The page of one bundle, compared with `beside`. Raises BundleUnknown, and BundleDamaged where
    not even its row can be read.
    """
    record = bundles.bundle(session, bundle_id)
    document, damage = _document(record)
    current = assignments.assignment(session, record.cascade)
    moves = promotions.promotions(session, record.cascade)
    moved, fault = _moved(session, record, beside)
    return BundlePage(
        line=_line(record, None if current is None else current.champion),
        document=document,
        damage=damage,
        tiers=() if document is None else _tiers(document, cascades.cascade(session, record.cascade)),
        moves=tuple(move for move in moves[::-1] if bundle_id in (move.bundle, move.previous)),
        training=job_runs.run_of_bundle(session, bundle_id),
        registered=message(session, TOPIC, bundle_id),
        mlflow=_model_address(mlflow_url, record.cascade),
        others=tuple(one for one in bundles.bundles(session, record.cascade) if one.id != bundle_id),
        compared_with=beside,
        moved=moved,
        not_compared=fault,
    )


def promise_of(certificate: CertificateDocument | None) -> str:
    """What a certificate promises, in a sentence that needs no symbol."""
    if certificate is None:
        return "It carries no certificate, so nothing is promised."
    if certificate.status is not CertificateStatus.CERTIFIED:
        return _NOTHING[certificate.status]
    kept = "an unknown share"
    if certificate.retained_share is not None:
        kept = f"about {100 * certificate.retained_share:.0f} %"
    at_most = f"{100 * certificate.target_value:.3g}"
    if certificate.target is TargetKind.MAX_ACCURACY_DROP:
        owed = f"at most {at_most} points lost"
    else:
        owed = f"at least {at_most} % of what is kept is right"
    return f"Keeps {kept} of answers; {owed}, {_how_surely(certificate)}."


def _how_surely(certificate: CertificateDocument) -> str:
    if certificate.promise is PromiseKind.ROLLING:
        return f"with {100 * (1 - certificate.delta):.3g} % confidence in any given week"
    over = "over all its attempts" if certificate.season is None else f"over all of season {certificate.season.number}"
    return f"with {100 * (1 - certificate.delta_family):.3g} % confidence {over}"


def shown_value(value: str | None) -> str:
    """A value of a document as people read it; one that is not there as a dash."""
    if value is None or value == "None":
        return numbers.UNKNOWN
    try:
        return numbers.amount(float(value)) if "." in value or "e" in value else value
    except (ValueError, OverflowError):
        return value


def _line(record: BundleRecord, champion: str | None) -> BundleLine:
    document, _ = _document(record)
    certificate = None if document is None else document.certificate
    in_force = record.id == champion
    return BundleLine(record=record, promise=promise_of(certificate), certificate=certificate, in_force=in_force)


def _document(record: BundleRecord) -> tuple[BundleDocument | None, str | None]:
    try:
        return read_document(record.document), None
    except (BundleRefused, RecordInvalid) as error:
        return None, str(error)


def _tiers(document: BundleDocument, spec: CascadeSpec) -> tuple[TierBounds, ...]:
    fallback = None if document.policy.fallback is None else document.policy.fallback.rules
    return tuple(
        TierBounds(
            tier=spec.tiers[tier].name if tier < len(spec.tiers) else f"tier {tier}",
            model=document.models[tier],
            bounds=_bounds(gates),
            fallback=() if fallback is None else _bounds(fallback[tier]),
        )
        for tier, gates in enumerate(document.policy.rules)
    )


def _bounds(gates: tuple[Gate, ...] | None) -> tuple[Bound, ...]:
    return tuple(
        Bound(
            symbol=gate.signal.value,
            name=SIGNALS[gate.signal.value],
            bound=f"{'at most' if gate.signal.value == 'ood' else 'at least'} {numbers.amount(gate.threshold)}",
        )
        for gate in gates or ()
    )


def _moved(session: Session, record: BundleRecord, beside: str | None) -> tuple[tuple[Difference, ...], str | None]:
    if beside is None:
        return (), None
    try:
        if bundles.bundle(session, beside).cascade != record.cascade:
            raise BundleUnknown(beside)  # whoever looks may not be meant to know of another cascade's
        first, second = (
            read_bundle(bundles.bundle_content(session, one), expected_id=one) for one in (beside, record.id)
        )
    except (BundleUnknown, BundleDamaged, BundleRefused, RecordInvalid) as error:
        return (), str(error)
    return differences(first, second), None


def _model_address(mlflow_url: str, cascade: str) -> str | None:
    """Where the cascade's bundles are registered, for a browser; None where that is a database."""
    parts = urlsplit(mlflow_url)
    if parts.scheme not in ("http", "https") or parts.username is not None or parts.query:
        return None
    return f"{mlflow_url.rstrip('/')}/#/models/{quote(f'knowgate.{cascade}', safe='')}"


def rows_by_purpose(document: BundleDocument) -> Mapping[str, int]:
    """What was read for it, by purpose."""
    return dict(sorted(document.rows.items()))


def labels_by_source(certificate: CertificateDocument) -> tuple[tuple[str, int, str], ...]:
    """Whose labels it rests on: the source, how many, and what they are to it."""
    basis = certificate.label_basis
    if basis is None:
        return ()
    trusted = [(source, count, "counted as the truth") for source, count in basis.labels.items()]
    return (*trusted, *((source, count, "corrected by the others") for source, count in basis.forecasts.items()))


def since(moves: tuple[PromotionRecord, ...], bundle_id: str) -> datetime | None:
    """When it last came into force."""
    return next((move.decided_at for move in moves if move.bundle == bundle_id and move.outcome.moves), None)

"""Make the bundle and let it take effect: bundle, certification and outbox message in one
transaction, once.

The claim is checked first and ended last inside that transaction. A trainer that was killed and
restarted, or that slept through the end of its lease, therefore publishes once or not at all. What
goes to MLflow is only written down here; `training.publishing.mlflow_outbox` carries it out, so a
registry that is down delays nothing.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from knowgate._bundles.bundle import (
    Bundle,
    BundleDocument,
    CertificateDocument,
    CertificateStatus,
    ComparisonDocument,
    TierModels,
    write_bundle,
)
from knowgate._records.records import Window
from knowgate._wire import codec
from knowgate.policy import Policy
from knowgate.spec import CascadeSpec
from store.engine import transaction
from store.jobs.job_runs import Claim, fence, finish
from store.jobs.outbox import add_message
from store.jobs.trainer_reports import TrainingOutcome
from store.releases.bundles import BundleStatus, add_bundle
from store.releases.certifications import CertificationRecord, add_certification
from training.publishing.records import RunReport

MLFLOW_TOPIC = "mlflow"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draft:
    """A bundle's parts, before it is written."""

    spec: CascadeSpec
    policy: Policy
    tiers: tuple[TierModels | None, ...]
    certificate: CertificateDocument
    window: Window
    rows: dict[str, int]
    parent: str | None
    created_at: datetime
    code_version: str
    comparison: ComparisonDocument | None = None  # with the bundle in force, where there is one


def make_bundle(draft: Draft) -> Bundle:
    """The bundle of a draft. The same draft gives the same bytes, and so the same id."""
    document = BundleDocument(
        cascade=draft.spec.name,
        models=tuple(tier.named_model for tier in draft.spec.tiers),
        tiers=tuple(None if models is None else models.document for models in draft.tiers),
        policy=draft.policy,
        certificate=draft.certificate,
        comparison=draft.comparison,
        training_window=draft.window,
        rows=draft.rows,
        code_version=draft.code_version,
        parent=draft.parent,
        created_at=draft.created_at,
        p_t_kinds=tuple(tier.p_t_kind for tier in draft.spec.tiers[:-1]),
    )
    return write_bundle(document, draft.tiers)


def publish(
    engine: Engine, bundle: Bundle, report: RunReport, outcome: TrainingOutcome, *, claim: Claim | None, now: datetime
) -> None:
    """Store bundle, certification and registry message, and end the claim: all or nothing.

    Raises store.errors.ClaimLost where another trainer has taken the window over, AttemptTaken
    where another run has spent this attempt's share of δ meanwhile; nothing has happened then.
    """
    document = bundle.document
    certificate = document.certificate
    assert certificate is not None
    with transaction(engine) as session:
        if claim is not None:
            fence(session, claim)
        add_bundle(
            session,
            bundle.id,
            document.cascade,
            codec.canonical(document),
            bundle.content,
            _status(certificate.status),
            now,
        )
        add_certification(session, _certification(bundle, certificate, now))
        add_message(session, MLFLOW_TOPIC, bundle.id, codec.canonical(report).decode(), now=now)
        if claim is not None:
            finish(session, claim, str(outcome.status), now=now)


def finish_without_effect(engine: Engine, claim: Claim | None, outcome: TrainingOutcome, *, now: datetime) -> None:
    """End the claim of a window that had nothing to learn from. Raises store.errors.ClaimLost."""
    if claim is None:
        return
    with transaction(engine) as session:
        fence(session, claim)
        finish(session, claim, str(outcome.status), now=now)


def _status(status: CertificateStatus) -> BundleStatus:
    return BundleStatus(status.value)


def _certification(bundle: Bundle, certificate: CertificateDocument, now: datetime) -> CertificationRecord:
    return CertificationRecord(
        cascade=bundle.document.cascade,
        attempt=certificate.attempt,
        window=certificate.cohort,
        status=certificate.status.value,
        target_kind=certificate.target.value,
        target_value=certificate.target_value,
        delta_family=certificate.delta_family,
        delta_spent=certificate.delta,
        n=certificate.n,
        document=codec.canonical(certificate).decode(),
        decided_at=now,
        bundle=bundle.id,
    )

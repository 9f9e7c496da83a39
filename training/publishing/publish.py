"""Let a bundle take effect: bundle, certification and outbox message in one transaction, once.

The claim is checked first and ended last inside that transaction. A trainer that was killed and
restarted, or that slept through the end of its lease, therefore publishes once or not at all. What
goes to MLflow is only written down here; `training.publishing.mlflow_outbox` carries it out, so a
registry that is down delays nothing.
"""

from datetime import datetime

from sqlalchemy import Engine

from knowgate._bundles.bundle import Bundle, CertificateDocument
from knowgate._wire import codec
from store.engine import transaction
from store.jobs.job_runs import Claim, fence, finish
from store.jobs.outbox import add_message
from store.jobs.trainer_reports import TrainingOutcome
from store.releases.bundles import BundleStatus, add_bundle
from store.releases.certifications import CertificationRecord, add_certification
from store.releases.seasons import SeasonRecord, add_season
from training.publishing.records import RunReport

MLFLOW_TOPIC = "mlflow"


def publish(
    engine: Engine,
    bundle: Bundle,
    report: RunReport,
    outcome: TrainingOutcome,
    *,
    season: SeasonRecord | None = None,
    claim: Claim | None,
    now: datetime,
) -> None:
    """Store bundle, certification, what its season has counted and the registry message, and end
    the claim: all or nothing.

    Raises store.errors.ClaimLost where another trainer has taken the window over, AttemptTaken
    where another run has made an attempt of this number meanwhile; nothing has happened then.
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
            BundleStatus(certificate.status.value),
            now,
        )
        add_certification(session, _certification(bundle, certificate, now))
        if season is not None:
            add_season(session, season)
        add_message(session, MLFLOW_TOPIC, bundle.id, codec.canonical(report).decode(), now=now)
        if claim is not None:
            finish(session, claim, str(outcome.status), now=now, bundle=bundle.id)


def finish_without_effect(engine: Engine, claim: Claim | None, outcome: TrainingOutcome, *, now: datetime) -> None:
    """End the claim of a window of which no bundle comes. Raises store.errors.ClaimLost."""
    if claim is None:
        return
    with transaction(engine) as session:
        fence(session, claim)
        finish(session, claim, str(outcome.status), now=now, labels_needed=outcome.labels_needed)


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

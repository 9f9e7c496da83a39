"""What the story is made of: declarations, bundles, moves, runtimes, alerts and trainings,
written as the service writes them.
"""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from benchmarks.shape import FINGERPRINT
from knowgate import (
    Bundle,
    BundleDocument,
    LinearProbe,
    Platt,
    Policy,
    PolicyKind,
    ProbeKind,
    Standardiser,
    TierDocument,
    TierModels,
    Window,
    write_bundle,
)
from knowgate._bundles.assignment import Assignment, Mode
from knowgate._bundles.bundle_documents import CertificateDocument, CertificateStatus
from knowgate._wire import codec
from knowgate.spec import PromiseKind, TargetKind
from monitoring.names import Rule
from services.declaration.cascade_file import parse_cascade
from store.jobs import job_runs
from store.jobs.occasions import Occasion, TrainingReason
from store.releases import assignments, bundles, cascades, certifications, promotions
from store.releases.assignments import RuntimeState
from store.releases.bundles import BundleStatus
from store.releases.certifications import CertificationRecord
from store.releases.promotions import Outcome, PromotionRecord
from store.watching import alert_acts, alerts
from store.watching.alert_acts import Act, AlertAct
from store.watching.alerts import AlertRecord

NOW = datetime(2026, 6, 16, 15, 7, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)

DECLARED = """
name = "{name}"
exploration_rate = 0.1
[[tiers]]
name = "{small}"
model = "{small_model}"
parameters = 8e9
prices = [{{ since = 2025-01-01T00:00:00Z, usd_per_million_tokens_in = 0.2, usd_per_million_tokens_out = 0.6 }}]
layers = [20]
[[tiers]]
name = "{large}"
model = "{large_model}"
parameters = 70e9
prices = [{{ since = 2025-01-01T00:00:00Z, usd_per_million_tokens_in = 4, usd_per_million_tokens_out = 16 }}]
[targets]
value = {allowed}
delta = 0.1
[schedule]
monitor_every = "1h"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """One cascade of the story."""

    name: str
    since: datetime
    allowed: float = 0.02
    small: str = "small"
    large: str = "large"
    hourly: float = 120.0


def declare(session: Session, cast: Cast) -> None:
    """The cascade as its file says."""
    said = DECLARED.format(
        name=cast.name,
        small=cast.small,
        large=cast.large,
        small_model="qwen3-8b",
        large_model="llama-3.3-70b",
        allowed=cast.allowed,
    )
    cascades.apply_cascade(session, parse_cascade(said), now=cast.since)


def bundle_of(cast: Cast, number: int) -> Bundle:
    """Its `number`-th bundle, certified."""
    document = TierDocument(
        fingerprint=replace(FINGERPRINT, model="qwen3-8b"),
        probe=ProbeKind.LINEAR,
        dimension=4,
        ik_calibrator=Platt(slope=1.0 + number / 10, intercept=0.0),
        ood=False,
        validation_auroc=0.81,
    )
    ones = np.ones(4, dtype=np.float32)
    models = TierModels(
        document=document,
        standardiser=Standardiser(mean=0 * ones, scale=ones),
        probe=LinearProbe(weight=ones, bias=0.0),
        ood=None,
    )
    made = NOW - 31 * DAY
    certificate = CertificateDocument(
        status=CertificateStatus.CERTIFIED,
        target=TargetKind.MAX_ACCURACY_DROP,
        target_value=cast.allowed,
        delta=0.1,
        delta_family=0.1,
        attempt=number,
        test="exact_paired",
        n=1840,
        cohort=Window(start=made - 28 * DAY, end=made - 7 * DAY),
        split="by prompt",
        estimated_drop=0.009,
        drop_upper_bound=0.018,
        retained_share=0.41,
        savings=0.33,
        savings_low=0.30,
        savings_high=0.36,
        probe_auroc=0.81,
        p_t_auroc=0.74,
        score_auroc=0.84,
        promise=PromiseKind.ROLLING,
    )
    rule: Any = ({"p_ik": 0.6, "p_t": 0.62},)
    return write_bundle(
        BundleDocument(
            cascade=cast.name,
            tiers=(document,),
            models=("qwen3-8b", "llama-3.3-70b"),
            policy=Policy.of(PolicyKind.GATES, rule, Policy.of(PolicyKind.P_T, ({"p_t": 0.9},))),
            certificate=certificate,
            training_window=certificate.cohort,
            rows={"train": 2600, "certify": 1840},
            mlflow_run=None,
            code_version="0.1.0",
            parent=None,
            created_at=made,
        ),
        (models,),
    )


def store(
    session: Session,
    cast: Cast,
    bundle: Bundle,
    number: int,
    at: datetime,
    *,
    status: BundleStatus = BundleStatus.PROMOTED,
) -> None:
    """The bundle and its certificate, as a training leaves them."""
    document = codec.canonical(bundle.document)
    bundles.add_bundle(session, bundle.id, cast.name, document, bundle.content, status, at)
    certificate = bundle.document.certificate
    assert certificate is not None
    certifications.add_certification(
        session,
        CertificationRecord(
            cascade=cast.name,
            attempt=number,
            window=certificate.cohort,
            status=certificate.status.value,
            target_kind=certificate.target.value,
            target_value=cast.allowed,
            delta_family=0.1,
            delta_spent=0.1,
            n=certificate.n,
            document=codec.canonical(certificate).decode(),
            decided_at=at,
            bundle=bundle.id,
        ),
    )


def move(
    session: Session,
    cast: Cast,
    bundle: str,
    outcome: Outcome,
    reason: str,
    generation: int | None,
    at: datetime,
    *,
    by: str | None = None,
) -> None:
    """A row of the promotion history."""
    record = PromotionRecord(
        cascade=cast.name,
        bundle=bundle,
        previous=None,
        outcome=outcome,
        reason=reason,
        check="{}",
        generation=generation,
        decided_at=at,
        decided_by=by,
    )
    promotions.add_promotion(session, record)


def assign(
    session: Session, cast: Cast, champion: str | None, generation: int, at: datetime, *, mode: Mode = Mode.ACTIVE
) -> None:
    """What is in force."""
    new = Assignment(
        cascade=cast.name,
        generation=generation,
        mode=mode,
        champion=champion,
        exploration_rate=0.1 if mode is Mode.ACTIVE else 0.05,
        issued_at=at,
        valid_until=NOW + DAY,
    )
    assignments.swap_assignment(session, new, expected_generation=None, now=at)


def hear(session: Session, cast: Cast, host: str, bundle: str | None, generation: int, at: datetime) -> None:
    """A runtime that was heard of."""
    state = RuntimeState(
        cascade=cast.name,
        runtime=host,
        generation=generation,
        bundle=bundle,
        accepted=True,
        detail=None,
        at=at,
        version="0.1.0",
        heard_at=at,
        again_s=60.0,
        unshipped_bytes=0,
        refused_rows=0,
    )
    assignments.add_acknowledgement(session, state)


def raise_alert(
    session: Session,
    cast: Cast,
    rule: Rule,
    cause: str,
    at: datetime,
    resolved: datetime | None,
    *,
    acknowledged: str | None = None,
) -> None:
    """An alert, looked after or over where that is said."""
    record = AlertRecord(cascade=cast.name, rule=rule.value, cause=cause, details=json.dumps({}), opened_at=at)
    key = alerts.open_alert(session, record)
    if acknowledged is not None:
        act = AlertAct(
            alert_id=key,
            act=Act.ACKNOWLEDGED,
            by=acknowledged,
            reason="new outage articles go live today",
            at=at + HOUR,
        )
        alert_acts.add_act(session, act)
    if resolved is not None:
        alerts.resolve_alert(session, cast.name, rule.value, resolution="two whole days without a loss", now=resolved)


def train(session: Session, cast: Cast, at: datetime, reason: TrainingReason, why: str, outcome: str) -> None:
    """A training that has ended."""
    window = Window(start=at - 7 * DAY, end=at)
    occasion = Occasion(reason=reason, why=why)
    run = job_runs.claim(session, "train", cast.name, window, owner="scheduler", lease=DAY, now=at, occasion=occasion)
    assert run is not None
    job_runs.finish(session, run, outcome, now=at + HOUR)

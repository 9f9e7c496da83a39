"""A believable deployment: four cascades, one that keeps its promise, one that waits to be switched
on, one that an alarm has stopped, and one that is new.
"""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from benchmarks.pages.bulk import Asked, Episode, Traffic, add_decisions, add_figures
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
from store.engine import transaction
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
TOPICS = ("billing", "returns", "delivery", "accounts", "warranty", "invoices", "outages", "upgrades", "contracts")

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
class Size:
    """How much of it."""

    days: int = 60  # of the oldest cascade
    slices: int = 9
    decisions: int = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """One cascade of the story."""

    name: str
    since: datetime
    allowed: float = 0.02
    small: str = "small"
    large: str = "large"
    hourly: float = 120.0


def tell(engine: Engine, size: Size) -> None:
    """Fill an empty, migrated SQLite database."""
    support = Cast(name="support", since=NOW.replace(minute=0) - size.days * DAY)
    search = Cast(name="search", since=NOW.replace(minute=0) - 40 * DAY, allowed=0.03, hourly=300.0)
    billing = Cast(name="billing", since=NOW.replace(minute=0) - 12 * DAY, hourly=40.0)
    translate = Cast(name="translate", since=NOW.replace(minute=0) - 2 * DAY, hourly=15.0)
    for cast in (support, search, billing, translate):
        with transaction(engine) as session:
            _declare(session, cast)
    _support(engine, support, size)
    _search(engine, search)
    _billing(engine, billing)
    _translate(engine, translate)


def _declare(session: Session, cast: Cast) -> None:
    said = DECLARED.format(
        name=cast.name,
        small=cast.small,
        large=cast.large,
        small_model="qwen3-8b",
        large_model="llama-3.3-70b",
        allowed=cast.allowed,
    )
    cascades.apply_cascade(session, parse_cascade(said), now=cast.since)


def _support(engine: Engine, cast: Cast, size: Size) -> None:
    slices = [TOPICS[at % len(TOPICS)] + ("" if at < len(TOPICS) else f"-{at}") for at in range(size.slices)]
    drift = Episode(
        start=NOW - 5 * DAY,
        end=NOW,
        moved={"savings_usd": -0.07, "savings_gflops": -0.07, "retained_share": -0.09, "escalated_share.ood": 0.09},
    )
    dip = Episode(start=NOW - 24 * DAY, end=NOW - 23 * DAY, moved={"savings_usd": -0.3, "retained_share": -0.42})
    traffic = Traffic(
        cascade=cast.name,
        start=cast.since,
        end=NOW.replace(minute=0),
        hourly=cast.hourly,
        episodes=(drift, dip),
        slices=slices,
    )
    first, second = _bundle(cast, 1), _bundle(cast, 2)
    add_figures(engine, traffic)
    add_decisions(
        engine, Asked(traffic=traffic, count=size.decisions, bundle=second.id, models=("qwen3-8b", "llama-3.3-70b"))
    )
    began = cast.since + 9 * DAY
    with transaction(engine) as session:
        _store(session, cast, first, 1, began)
        _store(session, cast, second, 2, NOW - 31 * DAY)
        _move(session, cast, first.id, Outcome.PROMOTED, "the first certified bundle", 1, began)
        _move(session, cast, second.id, Outcome.PROMOTED, "keeps 4.2 points more, and loses no more", 2, NOW - 31 * DAY)
        for week in (3, 2, 1):
            other = _bundle(cast, 2 + week)
            _store(session, cast, other, 2 + week, NOW - week * 7 * DAY, status=BundleStatus.REFUSED)
            _move(
                session,
                cast,
                other.id,
                Outcome.REFUSED,
                "would save 0.3 points less than the champion",
                None,
                NOW - week * 7 * DAY,
            )
        _move(
            session, cast, second.id, Outcome.STOPPED, "the knowledge base is being moved", 3, NOW - 24 * DAY, by="ada"
        )
        _move(
            session,
            cast,
            second.id,
            Outcome.RESUMED,
            "the move is done, answers were checked",
            4,
            NOW - 23 * DAY,
            by="ada",
        )
        _assign(session, cast, second.id, 4, NOW - 23 * DAY)
        for host in ("gateway-1", "gateway-2", "gateway-3"):
            _runtime(session, cast, host, second.id, 4, NOW - timedelta(seconds=20))
        cascades.apply_cascade(
            session, replace(cascades.cascade(session, cast.name), exploration_width=0.02), now=NOW - 17 * DAY
        )
        _alert(
            session,
            cast,
            Rule.SAVINGS,
            "savings fell from 33 to 3 % while nothing was kept",
            NOW - 24 * DAY,
            NOW - 22 * DAY,
        )
        cause = "questions of the slice outages grew from 4 to 31 % and mostly escalate; savings fell from 33 to 26 %"
        _alert(session, cast, Rule.DRIFT, cause, NOW - 4 * DAY, None, acknowledged="grace")
        _training(session, cast, NOW - 7 * DAY, TrainingReason.SCHEDULE, "its turn: a period has ended", "certified")


def _search(engine: Engine, cast: Cast) -> None:
    harm = {"drop": 0.06, "accuracy_cascade": -0.06, "accuracy_retained": -0.11}
    gone = {"savings_usd": -1.0, "savings_gflops": -1.0, "retained_share": -1.0}
    rang = NOW.replace(hour=14, minute=2)
    traffic = Traffic(
        cascade=cast.name,
        start=cast.since,
        end=NOW.replace(minute=0),
        hourly=cast.hourly,
        dear=0.04,
        episodes=(
            Episode(start=NOW - 9 * DAY, end=NOW, moved=harm),
            Episode(start=rang.replace(minute=0), end=NOW, moved=gone),
        ),
        slices=("people", "places", "products"),
        horizon=7 * DAY,
        seed=7,
    )
    bundle = _bundle(cast, 1)
    add_figures(engine, traffic)
    add_decisions(engine, Asked(traffic=traffic, count=4000, bundle=bundle.id, models=("qwen3-8b", "llama-3.3-70b")))
    with transaction(engine) as session:
        _store(session, cast, bundle, 1, cast.since + 10 * DAY)
        _move(session, cast, bundle.id, Outcome.PROMOTED, "the first certified bundle", 1, cast.since + 10 * DAY)
        _move(session, cast, bundle.id, Outcome.STOPPED, "the risk alarm rang", 2, rang)
        _assign(session, cast, bundle.id, 2, rang, mode=Mode.ESCALATE_ALL)
        _runtime(session, cast, "search-a", bundle.id, 2, NOW - timedelta(seconds=40))
        cause = "kept answers lose 6.8 points (4.4 to 9.2) of 3.0 allowed, since Sunday 15:00"
        _alert(session, cast, Rule.RISK, cause, rang, None)


def _billing(engine: Engine, cast: Cast) -> None:
    traffic = Traffic(
        cascade=cast.name,
        start=cast.since,
        end=NOW.replace(minute=0),
        hourly=cast.hourly,
        dear=0.3,
        seed=11,
        episodes=(
            Episode(
                start=cast.since, end=NOW, moved={"savings_usd": -1.0, "savings_gflops": -1.0, "retained_share": -1.0}
            ),
        ),
    )
    bundle = _bundle(cast, 1)
    add_figures(engine, traffic)
    add_decisions(engine, Asked(traffic=traffic, count=1500, bundle=bundle.id, models=("qwen3-8b", "llama-3.3-70b")))
    with transaction(engine) as session:
        _store(session, cast, bundle, 1, NOW - 1 * DAY, status=BundleStatus.CERTIFIED)
        _assign(session, cast, None, 1, cast.since, mode=Mode.OBSERVE)
        _runtime(session, cast, "billing-0", None, 1, NOW - timedelta(seconds=11))


def _translate(engine: Engine, cast: Cast) -> None:
    traffic = Traffic(
        cascade=cast.name,
        start=cast.since,
        end=NOW.replace(minute=0),
        hourly=cast.hourly,
        seed=13,
        episodes=(
            Episode(
                start=cast.since, end=NOW, moved={"savings_usd": -1.0, "savings_gflops": -1.0, "retained_share": -1.0}
            ),
        ),
    )
    add_figures(engine, traffic)
    add_decisions(engine, Asked(traffic=traffic, count=400, bundle="", models=("qwen3-4b", "llama-3.3-70b")))
    with transaction(engine) as session:
        _assign(session, cast, None, 1, cast.since, mode=Mode.OBSERVE)
        _runtime(session, cast, "translate-0", None, 1, NOW - timedelta(seconds=30))
        cause = "412 attempts ran qwen3-4b where qwen3-8b is declared"
        _alert(session, cast, Rule.UNDECLARED_MODEL, cause, NOW - 30 * HOUR, None)


def _bundle(cast: Cast, number: int) -> Bundle:
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


def _store(
    session: Session,
    cast: Cast,
    bundle: Bundle,
    number: int,
    at: datetime,
    *,
    status: BundleStatus = BundleStatus.PROMOTED,
) -> None:
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


def _move(
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


def _assign(
    session: Session, cast: Cast, champion: str | None, generation: int, at: datetime, *, mode: Mode = Mode.ACTIVE
) -> None:
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


def _runtime(session: Session, cast: Cast, host: str, bundle: str | None, generation: int, at: datetime) -> None:
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


def _alert(
    session: Session,
    cast: Cast,
    rule: Rule,
    cause: str,
    at: datetime,
    resolved: datetime | None,
    *,
    acknowledged: str | None = None,
) -> None:
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


def _training(session: Session, cast: Cast, at: datetime, reason: TrainingReason, why: str, outcome: str) -> None:
    window = Window(start=at - 7 * DAY, end=at)
    occasion = Occasion(reason=reason, why=why)
    run = job_runs.claim(session, "train", cast.name, window, owner="scheduler", lease=DAY, now=at, occasion=occasion)
    assert run is not None
    job_runs.finish(session, run, outcome, now=at + HOUR)

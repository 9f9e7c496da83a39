"""What a played deployment came to: counted truth, what was certified, what was alarmed, what can
be proven.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from knowgate import Window
from knowgate._bundles.bundle import read_document
from knowgate._bundles.bundle_documents import CertificateDocument
from services.audit.replay_stored import replay_window
from services.audit.verify import verify_ledger
from services.simulation.play import Played, Truth
from services.simulation.stage import Stage
from services.windows import EPOCH, floor_time
from store.engine import reading, transaction
from store.ledger import ledger
from store.releases import assignments, bundles
from store.traffic.labels import label_count
from store.watching import alerts


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Shares of right answers over all queries, counted."""

    cascade: float
    always_large: float
    always_small: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """Shares of the last tier's cost over all queries, cold start included, exploration apart."""

    usd: float
    gflops: float
    exploration_usd: float  # what exploring cost, in shares of the last tier's cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Auroc:
    """Of the latest promoted bundle's signals, on the rows that certified it; None where a signal
    is not there.
    """

    p_t: float | None
    p_ik: float | None
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """One period of trainings, counted."""

    start: datetime
    queries: int
    retained_share: float
    savings_usd: float  # exploration apart
    accuracy_drop: float  # of the cascade against the last tier alone
    trained: tuple[str, ...]  # what each training was made for, and what came of it
    promoted: int  # bundles that were put in force
    alerts: tuple[str, ...]  # opened or resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleLine:
    id: str
    status: str
    certificate: CertificateDocument | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertLine:
    rule: str
    cause: str
    opened_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """`late` came after the horizon; `mature` are labels of decisions that are older than the
    horizon.
    """

    sent: int
    late: int
    mature: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    entries: int
    replayed: int  # decisions
    mismatches: int
    verified: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The object in `summary.json`."""

    cascade: str
    queries: int
    retained_share: float
    accuracy: Accuracy
    savings: Savings
    auroc: Auroc
    bundles: tuple[BundleLine, ...]  # oldest first
    champion: str | None
    alerts: tuple[AlertLine, ...]
    labels: Labels
    audit: Audit
    weeks: tuple[Week, ...] = ()  # earliest first; those with traffic


def summarise(stage: Stage, played: Played) -> Summary:
    """Seal what is open, verify the ledger, replay every decision, and put the figures together."""
    name, now = stage.spec.name, stage.clock.now()
    stage.settle()
    with transaction(stage.engine) as session:
        ledger.seal_all(session, now=now)
    with reading(stage.engine) as session:
        verification = verify_ledger(session)
        replayed = replay_window(session, name, Window(start=EPOCH, end=now))
        lines = tuple(_bundle_line(record) for record in reversed(bundles.bundles(session, name)))
        assignment = assignments.assignment(session, name)
        raised = tuple(_alert_line(record) for record in alerts.alerts(session, name))
        mature = label_count(session, name, Window(start=EPOCH, end=now - stage.spec.horizon), as_of=now)
    return Summary(
        cascade=name,
        queries=played.total.queries,
        retained_share=played.total.share(played.total.retained),
        accuracy=_accuracy(played),
        savings=_savings(played),
        auroc=_auroc(lines),
        bundles=lines,
        champion=None if assignment is None else assignment.champion,
        alerts=raised,
        labels=Labels(sent=played.labels, late=played.late_labels, mature=mature),
        audit=Audit(
            entries=verification.entries,
            replayed=replayed.decisions,
            mismatches=replayed.mismatches,
            verified=verification.verified,
        ),
        weeks=_weeks(played, stage.spec.schedule.train_every),
    )


def _weeks(played: Played, every: timedelta) -> tuple[Week, ...]:
    weeks: dict[datetime, Truth] = {}
    for end, truth in played.blocks:
        if truth.queries:
            start = floor_time(end - timedelta(seconds=1), every)
            weeks[start] = weeks.get(start, Truth()) + truth
    return tuple(_week(played, start, start + every, truth) for start, truth in sorted(weeks.items()))


def _week(played: Played, start: datetime, end: datetime, truth: Truth) -> Week:
    happened = [event for event in played.events if start <= event.at < end]
    return Week(
        start=start,
        queries=truth.queries,
        retained_share=truth.share(truth.retained),
        savings_usd=1.0 - truth.cost_usd / truth.cost_usd_last if truth.cost_usd_last > 0 else 0.0,
        accuracy_drop=truth.share(truth.right_last - truth.right_cascade),
        trained=tuple(event.text for event in happened if event.what == "trained"),
        promoted=sum(event.what == "promoted" for event in happened),
        alerts=tuple(f"{event.what}: {event.text}" for event in happened if event.what in ("alert", "resolved")),
    )


def _accuracy(played: Played) -> Accuracy:
    truth = played.total
    return Accuracy(
        cascade=truth.share(truth.right_cascade),
        always_large=truth.share(truth.right_last),
        always_small=truth.share(truth.right_first),
    )


def _savings(played: Played) -> Savings:
    truth = played.total

    def saved(cost: float, last: float) -> float:
        return 1.0 - cost / last if last > 0 else 0.0

    return Savings(
        usd=saved(truth.cost_usd, truth.cost_usd_last),
        gflops=saved(truth.gflops, truth.gflops_last),
        exploration_usd=truth.exploration_usd / truth.cost_usd_last if truth.cost_usd_last > 0 else 0.0,
    )


def _auroc(lines: tuple[BundleLine, ...]) -> Auroc:
    """Of the latest bundle that was ever in force."""
    promoted = [line.certificate for line in lines if line.status in ("promoted", "retired")]
    if not promoted or promoted[-1] is None:
        return Auroc(p_t=None, p_ik=None, score=None)
    return Auroc(p_t=promoted[-1].p_t_auroc, p_ik=promoted[-1].probe_auroc, score=promoted[-1].score_auroc)


def _bundle_line(record: bundles.BundleRecord) -> BundleLine:
    document = read_document(record.document)
    return BundleLine(
        id=record.id, status=str(record.status), certificate=document.certificate, created_at=record.created_at
    )


def _alert_line(record: alerts.AlertRecord) -> AlertLine:
    return AlertLine(rule=record.rule, cause=record.cause, opened_at=record.opened_at, resolved_at=record.resolved_at)

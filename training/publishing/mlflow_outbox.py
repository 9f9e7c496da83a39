"""Carry out what publishing wrote down for MLflow, at least once and never twice.

1. Claim the topic's due messages and commit.
2. Register each bundle, log each day's report and each batch's assessments; all look first for
   what they would make.
3. Say how it went: done, or to be tried again later.
4. Point the aliases at what the promotions say.

A drain that is killed anywhere is repeated by the next one. MLflow being down fails messages and
nothing else.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from knowgate._records.records import Window
from knowgate._wire import codec
from store.documents import parse, write
from store.engine import reading, transaction
from store.errors import BundleDamaged, BundleUnknown, ClaimLost
from store.jobs.outbox import OutboxMessage, claim_messages, finish_message
from store.jobs.trainer_reports import Drained
from store.releases.assignments import assignment
from store.releases.bundles import bundle_content
from store.releases.cascades import cascade_names
from store.releases.promotions import promotions
from store.traffic.evaluations import ASSESSMENTS, evaluations_of
from store.watching.drift_reports import REPORTS, DriftReport, daily_report
from training.errors import RegistryUnreachable
from training.publishing.assessments import Assessments
from training.publishing.publish import MLFLOW_TOPIC
from training.publishing.records import DayReport, Figure, RunReport
from training.publishing.registry import CHALLENGER, CHAMPION, Registry

LEASE = timedelta(minutes=10)


def _now() -> datetime:
    return datetime.now(UTC)


def drain_mlflow(
    engine: Engine, url: str, *, owner: str, clock: Callable[[], datetime] = _now, limit: int = 20
) -> Drained:
    """Register what is due, then set the aliases of every cascade."""
    with transaction(engine) as session:
        claimed = [
            message
            for topic in (MLFLOW_TOPIC, REPORTS, ASSESSMENTS)
            for message in claim_messages(session, topic, owner=owner, now=clock(), lease=LEASE, limit=limit)
        ]
    try:
        registry, assessments = Registry(url), Assessments(url)
    except RegistryUnreachable as error:
        for message in claimed:
            _finish(engine, message, clock(), str(error))
        return Drained(registered=0, failed=len(claimed), last_error=str(error))
    errors = []
    for message in claimed:
        if message.topic == ASSESSMENTS:
            errors.append(_log(engine, assessments, message, clock))
        elif message.topic == REPORTS:
            errors.append(_log_day(engine, registry, message, clock))
        else:
            errors.append(_carry_out(engine, registry, message, clock))
    failed = [error for error in errors if error is not None]
    alias_error = _project_aliases(engine, registry)
    return Drained(
        registered=len(errors) - len(failed), failed=len(failed), last_error=failed[-1] if failed else alias_error
    )


def _carry_out(engine: Engine, registry: Registry, message: OutboxMessage, clock: Callable[[], datetime]) -> str | None:
    """The error, or None where the bundle is registered."""
    error: str | None = None
    try:
        report = codec.decode(RunReport, parse(message.payload))
        with reading(engine) as session:
            content = bundle_content(session, report.bundle)
        registry.register(report, content)
    except (RegistryUnreachable, BundleUnknown, BundleDamaged) as failure:
        error = str(failure)
    _finish(engine, message, clock(), error)
    return error


def _log(engine: Engine, assessments: Assessments, message: OutboxMessage, clock: Callable[[], datetime]) -> str | None:
    """The error, or None where all that the batch says is logged."""
    error: str | None = None
    try:
        with reading(engine) as session:
            assessments.log(evaluations_of(session, int(message.payload)))
    except RegistryUnreachable as failure:
        error = str(failure)
    _finish(engine, message, clock(), error)
    return error


def _log_day(engine: Engine, registry: Registry, message: OutboxMessage, clock: Callable[[], datetime]) -> str | None:
    """The error, or None where the day's report is logged, or is no longer there."""
    error: str | None = None
    named = parse(message.payload)
    window = Window(start=datetime.fromisoformat(named["from"]), end=datetime.fromisoformat(named["to"]))
    with reading(engine) as session:
        stored = daily_report(session, named["cascade"], window)
    try:
        if stored is not None:
            registry.log_day(_day_report(stored))
    except RegistryUnreachable as failure:
        error = str(failure)
    _finish(engine, message, clock(), error)
    return error


def _day_report(stored: DriftReport) -> DayReport:
    """What the document says: numbers named `day.savings_usd`, `week.small.ece`,
    `day.small.drift.p_t`.
    """
    said = parse(stored.document)
    numbers = {
        ".".join(filter(None, (one["cohort"], one["tier"], name))): value
        for one in said["figures"]
        for name, value in one["values"].items()
        if value is not None
    }
    for tier, record in said["drift"].items():
        numbers |= {f"day.{tier}.drift.{column['column']}": column["score"] for column in record["columns"]}
    return DayReport(
        cascade=stored.cascade,
        day=stored.window.start.date(),
        ended_at=stored.window.end,
        figures=tuple(Figure(name=name, value=value) for name, value in numbers.items()),
        snapshot=write(said["evidently"]),
    )


def _finish(engine: Engine, message: OutboxMessage, now: datetime, error: str | None) -> None:
    try:
        with transaction(engine) as session:
            finish_message(session, message, now=now, error=error)
    except ClaimLost:
        return  # another drain has it, and finds what was made here


def _project_aliases(engine: Engine, registry: Registry) -> str | None:
    with reading(engine) as session:
        wanted = {name: _aliases(session, name) for name in cascade_names(session)}
    try:
        for cascade, aliases in wanted.items():
            registry.set_aliases(cascade, aliases)
    except RegistryUnreachable as error:
        return str(error)
    return None


def _aliases(session: Session, cascade: str) -> dict[str, str | None]:
    """Champion: what the last promotion or rollback put in force. Challenger: what the assignment
    tries beside it.
    """
    moved = [record for record in promotions(session, cascade) if record.outcome.moves]
    in_force = assignment(session, cascade)
    return {
        CHAMPION: moved[-1].bundle if moved else None,
        CHALLENGER: None if in_force is None else in_force.challenger,
    }

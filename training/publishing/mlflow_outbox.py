"""Carry out what publishing wrote down for MLflow, at least once and never twice.

1. Claim the topic's due messages and commit.
2. Register each bundle, log each batch's assessments; both look for what they would make first.
3. Say how it went: done, or to be tried again later.
4. Point the aliases at what the promotions say.

A drain that is killed anywhere is repeated by the next one. MLflow being down fails messages and
nothing else.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from knowgate._wire import codec
from store.documents import parse
from store.engine import reading, transaction
from store.errors import BundleDamaged, BundleUnknown, ClaimLost
from store.jobs.outbox import OutboxMessage, claim_messages, finish_message
from store.jobs.trainer_reports import Drained
from store.releases.assignments import assignment
from store.releases.bundles import bundle_content
from store.releases.cascades import cascade_names
from store.releases.promotions import promotions
from store.traffic.evaluations import ASSESSMENTS, evaluations_of
from training.errors import RegistryUnreachable
from training.publishing.assessments import Assessments
from training.publishing.publish import MLFLOW_TOPIC
from training.publishing.records import RunReport
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
            for topic in (MLFLOW_TOPIC, ASSESSMENTS)
            for message in claim_messages(session, topic, owner=owner, now=clock(), lease=LEASE, limit=limit)
        ]
    try:
        registry, assessments = Registry(url), Assessments(url)
    except RegistryUnreachable as error:
        for message in claimed:
            _finish(engine, message, clock(), str(error))
        return Drained(registered=0, failed=len(claimed), last_error=str(error))
    errors = [
        _log(engine, assessments, message, clock)
        if message.topic == ASSESSMENTS
        else _carry_out(engine, registry, message, clock)
        for message in claimed
    ]
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

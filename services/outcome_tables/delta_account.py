"""The δ that one attempt of `knowgate certify` may use, and the account it is taken from.

Certifying again and again on overlapping rows breaks the promise sooner or later. So where no week
of a season may be broken the k-th attempt gets 6δ/(π²k²) (`evidence.bounds.spending`), failed ones
counted too; where each week has its own thresholds (a rolling promise) every attempt has the whole
δ. Who keeps count of k:

- nobody: the whole δ, for a family of one attempt;
- the caller, who states k, the attempt of a season;
- a cascade of the deployment: k follows the attempts that its trainer and this command made before,
  δ and the promise are those of the cascade's targets, and the attempt is a row with a leaf in the
  ledger, whatever came of it.

A table that is refused spends nothing: no test was made.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from sqlalchemy.orm import Session

from evidence.bounds.spending import delta_by_promise, delta_for_attempt
from evidence.certification.certificate import Target
from knowgate._records.records import Window
from knowgate._wire import codec
from knowgate.spec import PromiseKind
from services.errors import InputInvalid
from services.outcome_tables.certification import CertifiedThresholds
from services.outcome_tables.outcomes import OutcomeTable
from store.releases.cascades import cascade
from store.releases.certifications import CertificationRecord, add_certification, next_attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What one attempt may use."""

    delta: float
    delta_family: float  # what all attempts of its family may use together
    attempt: int | None  # k, from 1; None: the family has one attempt
    promise: PromiseKind | None = None  # what δ is the chance against; None: of this one attempt


def stated_level(delta: float, attempt: int | None) -> Level:
    """The level of an attempt that the caller counts.

    Raises InputInvalid for an attempt below 1, evidence.errors.InvalidInputError for a δ that is
    none.
    """
    if attempt is None:
        return Level(delta=delta, delta_family=delta, attempt=None)
    if attempt < 1:
        raise InputInvalid(f"--attempt is {attempt}: give the attempt's number, from 1, failed ones counted")
    spent = delta_for_attempt(delta, attempt)
    return Level(delta=spent, delta_family=delta, attempt=attempt, promise=PromiseKind.SEASON)


def cascade_level(session: Session, name: str) -> Level:
    """The level of a cascade's next attempt. Raises store.errors.CascadeUnknown."""
    targets, attempt = cascade(session, name).targets, next_attempt(session, name)
    return Level(
        delta=delta_by_promise(targets.delta, attempt, targets.promise),
        delta_family=targets.delta,
        attempt=attempt,
        promise=targets.promise,
    )


def at_level(answer: CertifiedThresholds, level: Level) -> CertifiedThresholds:
    """The answer with the account's figures beside the δ that was used."""
    return replace(answer, attempt=level.attempt, delta_family=level.delta_family, promise_kind=level.promise)


def record_attempt(
    session: Session, name: str, table: OutcomeTable, target: Target, answer: CertifiedThresholds, *, now: datetime
) -> None:
    """Write the attempt into the cascade's account and the ledger.

    Raises store.errors.AttemptTaken where another run has spent this attempt's share meanwhile.
    """
    if answer.attempt is None or answer.delta_family is None:
        raise InputInvalid("the answer names no attempt: certify at the level of the cascade's account")
    record = CertificationRecord(
        cascade=name,
        attempt=answer.attempt,
        window=_window(table, now),
        status=str(answer.status),
        target_kind=str(target.kind),
        target_value=target.value,
        delta_family=answer.delta_family,
        delta_spent=answer.delta,
        n=answer.n,
        document=codec.canonical(answer).decode(),
        decided_at=now,
    )
    add_certification(session, record)


def _window(table: OutcomeTable, now: datetime) -> Window:
    """The decision time that the table spans; a table without times is dated by the
    attempt itself.
    """
    tick = timedelta(microseconds=1)
    times = table.occurred_at[~np.isnat(table.occurred_at)]
    if times.size == 0:
        return Window(start=now - tick, end=now)
    first, last = (moment.astype("datetime64[us]").item().replace(tzinfo=UTC) for moment in (times.min(), times.max()))
    return Window(start=first, end=last + tick)

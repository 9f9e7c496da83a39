"""The δ that one attempt of `knowgate certify` may use, and the account it is taken from.

What δ is the chance against depends on who keeps count:

- nobody: the whole δ, for a table that is the only attempt of its family;
- the caller, who states k, the attempt of a season: certifying again and again on overlapping rows
  breaks the promise sooner or later, so it has 6δ/(π²k²) (`evidence.bounds.spending`), failed ones
  counted;
- a cascade of the deployment under a rolling promise: every attempt has the whole δ of its targets,
  and is a row with a leaf in the ledger, whatever came of it, numbered after those of its trainer.
  The δ of a cascade's season belongs to the counters of its trainer
  (`training.certification.seasons`), which a table cannot add to: that is refused.

A table that is refused spends nothing: no test was made.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from sqlalchemy.orm import Session

from evidence.bounds.spending import delta_for_attempt
from evidence.certification.certificate import Target
from knowgate._records.records import Window
from knowgate._wire import codec
from knowgate.spec import PromiseKind
from services.errors import InputInvalid
from services.outcome_tables.certification import CertifiedThresholds
from services.outcome_tables.outcomes import OutcomeTable
from store.releases.cascades import cascade
from store.releases.certifications import CertificationRecord, add_certification, next_attempt_number


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
    """The level of a cascade's next attempt.

    Raises store.errors.CascadeUnknown, and InputInvalid for one that promises a season.
    """
    targets, attempt = cascade(session, name).targets, next_attempt_number(session, name)
    if targets.promise is PromiseKind.SEASON:
        raise InputInvalid(
            f"--cascade {name} promises a season, whose δ is spent by the trainer's counters: a table has no share of"
            " it; certify the table at a δ of its own, with --delta, and with --attempt where it is not the only one"
        )
    return Level(
        delta=targets.delta,
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

    Raises store.errors.AttemptTaken where another run has made an attempt of this number meanwhile.
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

"""What people did about alerts: who acknowledged, silenced or resolved one, when and why.

Acts are added and never changed, so their rows say the whole history. A silence is given on an
alert and speaks of its cascade's rule until it ends: of the alert that is open, and of one that
opens meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from knowgate._records.ids import new_id
from store import dialects
from store.rows import records, row_of
from store.tables import AlertActRow, AlertRow


class Act(StrEnum):
    """What may be done about an alert."""

    ACKNOWLEDGED = "acknowledged"  # somebody looks after it, until it rings again
    SILENCED = "silenced"  # no messages about its rule until a time
    RESOLVED = "resolved"  # it is over on a person's word; the rule may open another


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertAct:
    """One act of one person."""

    alert_id: UUID
    act: Act
    by: str
    reason: str
    at: datetime
    until: datetime | None = None  # of a silence

    @property
    def said(self) -> str:
        """What was done, and why."""
        until = "" if self.until is None else f" until {self.until:%Y-%m-%d %H:%M} UTC"
        return f"{self.act.value}{until}: {self.reason}"


def add_act(session: Session, act: AlertAct) -> None:
    """Store it, with its ledger leaf."""
    dialects.insert_new(session, AlertActRow, [row_of(AlertActRow, act, id=new_id(act.at))], returning="id")


def acts_of(session: Session, alerts: Sequence[UUID]) -> tuple[AlertAct, ...]:
    """What was done about these alerts, oldest first."""
    query = select(AlertActRow).where(AlertActRow.alert_id.in_(alerts)).order_by(AlertActRow.at, AlertActRow.id)
    return records(session, AlertAct, query)


def looked_after(acts: Sequence[AlertAct], rang_at: datetime) -> AlertAct | None:
    """Who said last that somebody looks after an alert that rang last at `rang_at`; None where
    nobody did since: a ring takes an acknowledgement back, what is new was seen by nobody.
    """
    seen = [act for act in acts if act.act is Act.ACKNOWLEDGED and act.at >= rang_at]
    return seen[-1] if seen else None


def newest_acts(session: Session, *, limit: int) -> tuple[AlertAct, ...]:
    """The latest about any alert, newest first."""
    query = select(AlertActRow).order_by(AlertActRow.at.desc(), AlertActRow.id.desc()).limit(limit)
    return records(session, AlertAct, query)


def last_silence(session: Session, cascade: str, rule: str) -> AlertAct | None:
    """The newest silence of the rule, whether or not it is over: a later one takes an earlier one's
    place, so that a silence can be ended before its time.
    """
    query = (
        select(AlertActRow)
        .join(AlertRow, AlertRow.id == AlertActRow.alert_id)
        .where(AlertRow.cascade == cascade, AlertRow.rule == rule, AlertActRow.act == Act.SILENCED.value)
        .order_by(AlertActRow.at.desc(), AlertActRow.id.desc())
        .limit(1)
    )
    return next(iter(records(session, AlertAct, query)), None)

"""Judgements to alerts: a row before a message.

1. A raised judgement opens the rule's alert, unless one is open: the first cause stands.
2. Each webhook of the cascade gets a delivery row in the same transaction; what is sent, and when, is
   `monitoring.deliveries`' business. So no crash loses a message and none is sent for an alert that does not exist.
3. A clear judgement resolves the alert, with a second message, if it looked at what the alert is about. An unknown one
   changes nothing.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from sqlalchemy.orm import Session

from knowgate.spec import CascadeSpec
from monitoring.names import Rule
from monitoring.rules import Judgement, Standing
from store.alerts import AlertRecord, alerts, open_alert, resolve_alert
from store.deliveries import add_delivery

SCHEMA = "knowgate.alert.v1"


class Event(StrEnum):
    """What a message is about."""

    OPENED = "opened"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertChange:
    """An alert that was opened or resolved."""

    rule: Rule
    event: Event
    cause: str


def settle(session: Session, spec: CascadeSpec, judgement: Judgement, *, now: datetime) -> AlertChange | None:
    """Open or resolve the rule's alert as the judgement says, with its messages; None where nothing changed."""
    open_now = next((a for a in alerts(session, spec.name, open_only=True) if a.rule == judgement.rule), None)
    if judgement.standing is Standing.RAISED and open_now is None:
        return _open(session, spec, judgement, now)
    if judgement.standing is Standing.CLEAR and open_now is not None:
        if not judgement.speaks_of(json.loads(open_now.details)):
            return None  # what the alert is about was not looked at
        return _resolve(session, spec, judgement, open_now, now)
    return None


def message(record: AlertRecord, event: Event, number: int) -> str:
    """The JSON body of an alert's `number`-th message to one webhook, to the byte."""
    told = {
        "schema": SCHEMA,
        "event": event.value,
        "sequence": number,
        "alert": {
            "id": str(record.id),
            "cascade": record.cascade,
            "rule": record.rule,
            "cause": record.cause,
            "details": json.loads(record.details),
            "opened_at": record.opened_at.isoformat(),
            "resolved_at": record.resolved_at.isoformat() if record.resolved_at else None,
            "resolution": record.resolution,
        },
    }
    return json.dumps(told, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _open(session: Session, spec: CascadeSpec, judgement: Judgement, now: datetime) -> AlertChange:
    record = AlertRecord(
        cascade=spec.name,
        rule=judgement.rule.value,
        cause=judgement.cause,
        details=json.dumps(dict(judgement.details), sort_keys=True, allow_nan=False),
        opened_at=now,
    )
    record = replace(record, id=open_alert(session, record))
    _announce(session, spec, record, Event.OPENED, now)
    return AlertChange(rule=judgement.rule, event=Event.OPENED, cause=judgement.cause)


def _resolve(
    session: Session, spec: CascadeSpec, judgement: Judgement, held: AlertRecord, now: datetime
) -> AlertChange:
    resolve_alert(session, spec.name, held.rule, resolution=judgement.cause, now=now)
    record = replace(held, resolved_at=now, resolution=judgement.cause)
    _announce(session, spec, record, Event.RESOLVED, now)
    return AlertChange(rule=judgement.rule, event=Event.RESOLVED, cause=judgement.cause)


def _announce(session: Session, spec: CascadeSpec, record: AlertRecord, event: Event, now: datetime) -> None:
    if record.id is None:
        return
    for url in spec.webhooks:
        add_delivery(session, record.id, url, event.value, lambda number: message(record, event, number), now=now)

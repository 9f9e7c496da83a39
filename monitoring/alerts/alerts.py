"""Assessments to alerts: a row before a message.

1. A raised assessment opens the rule's alert. While one is open its first cause stands; but an
   alarm that rings again has a ring of its own, with its own cause and its own message. A ring says
   what it speaks of and what decided then.
2. Each webhook of the cascade gets a delivery row in the same transaction; what is sent, and when,
   is `monitoring.alerts.deliveries`' business. So no crash loses a message and none is sent for an
   alert that does not exist. What is done about a ring is `services.promotion.rollout`'s business,
   from the same row.
3. A clear assessment resolves the alert, with a second message, if it looked at what the alert is
   about. An unknown one changes nothing.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy.orm import Session

from knowgate._wire import codec
from knowgate.spec import CascadeSpec
from monitoring.names import Rule
from monitoring.rules.rules import Assessment, Standing
from store.releases.assignments import assignment
from store.releases.rings import RingRecord, Spoken, add_ring, rings_of
from store.watching.alert_acts import last_silence
from store.watching.alerts import AlertRecord, alerts, open_alert, resolve_alert
from store.watching.deliveries import add_delivery, deliveries

SCHEMA = "knowgate.alert.v1"


class Event(StrEnum):
    """What a message is about."""

    OPENED = "opened"
    RANG_AGAIN = "rang_again"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertChange:
    """An alert that was opened, rang again or was resolved."""

    rule: Rule
    event: Event
    cause: str


def settle(session: Session, spec: CascadeSpec, assessment: Assessment, *, now: datetime) -> AlertChange | None:
    """Open, ring or resolve the rule's alert as the assessment says, with its messages; None where
    nothing changed.
    """
    open_now = next((a for a in alerts(session, spec.name, open_only=True) if a.rule == assessment.rule), None)
    ring = None
    if assessment.standing is Standing.RAISED and open_now is None:
        event, (record, ring) = Event.OPENED, _open(session, spec, assessment, now)
    elif assessment.standing is Standing.RAISED and assessment.ring is not None and open_now is not None:
        event, record, said = Event.RANG_AGAIN, open_now, _details(assessment)
        spoken = _spoken(session, spec, assessment)
        ring = add_ring(session, _id(record), cause=assessment.cause, details=said, spoken=spoken, now=now)
    elif (
        assessment.standing is Standing.CLEAR
        and open_now is not None
        and assessment.speaks_of(json.loads(open_now.details))  # else what the alert is about was not looked at
    ):
        resolve_alert(session, spec.name, open_now.rule, resolution=assessment.cause, now=now)
        event, record = Event.RESOLVED, replace(open_now, resolved_at=now, resolution=assessment.cause)
    else:
        if open_now is not None:
            _break_silence(session, spec, open_now, now)
        return None
    announce(session, spec, record, event, ring, now=now)
    return AlertChange(rule=assessment.rule, event=event, cause=assessment.cause)


def announce(
    session: Session,
    spec: CascadeSpec,
    record: AlertRecord,
    event: Event,
    ring: RingRecord | None = None,
    *,
    now: datetime,
) -> None:
    """Write the messages about what became of an alert, one per webhook.

    While its rule is silenced there are none, but that it is over: who has heard of an alert hears
    of its end.
    """
    silence = last_silence(session, spec.name, record.rule)
    silent = silence is not None and silence.until is not None and now < silence.until
    heard = {delivery.receiver for delivery in deliveries(session, _id(record))} if silent else set()
    for url in spec.webhooks:
        if not silent or (event is Event.RESOLVED and url in heard):
            add_delivery(
                session, _id(record), url, event.value, lambda number: message(record, event, number, ring), now=now
            )


def _break_silence(session: Session, spec: CascadeSpec, record: AlertRecord, now: datetime) -> None:
    """What opened in a silence that is over and stands on is said now, to whoever has not heard of
    it.
    """
    silence = last_silence(session, spec.name, record.rule)
    if silence is None or silence.until is None or not record.opened_at < silence.until <= now:
        return
    if {delivery.receiver for delivery in deliveries(session, _id(record))}.isdisjoint(spec.webhooks):
        announce(session, spec, record, Event.OPENED, rings_of(session, [_id(record)])[0], now=now)


def message(record: AlertRecord, event: Event, number: int, ring: RingRecord | None = None) -> str:
    """The JSON body of an alert's `number`-th message to one webhook, to the byte."""
    rule = Rule(record.rule)
    said = {"title": rule.headline, "severity": rule.severity.value, "runbook": rule.runbook}
    body = {
        "schema": SCHEMA,
        "event": event.value,
        "sequence": number,
        "alert": codec.encode(record) | {"details": json.loads(record.details)} | said,
        "ring": None if ring is None else _ring_document(ring),
    }
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _ring_document(ring: RingRecord) -> dict[str, object]:
    return {
        "number": ring.number,
        "cause": ring.cause,
        "details": json.loads(ring.details),
        "rang_at": ring.rang_at.isoformat(),
        "generation": ring.spoken.generation,
        "champion": ring.spoken.champion,
    }


def _open(session: Session, spec: CascadeSpec, assessment: Assessment, now: datetime) -> tuple[AlertRecord, RingRecord]:
    record = AlertRecord(
        cascade=spec.name,
        rule=assessment.rule.value,
        cause=assessment.cause,
        details=_details(assessment),
        opened_at=now,
    )
    record = replace(record, id=open_alert(session, record, _spoken(session, spec, assessment)))
    return record, rings_of(session, [_id(record)])[-1]


def _details(assessment: Assessment) -> str:
    return json.dumps(dict(assessment.details), sort_keys=True, allow_nan=False)


def _spoken(session: Session, spec: CascadeSpec, assessment: Assessment) -> Spoken:
    """What the ring speaks of, with what decides at this moment."""
    in_force = assignment(session, spec.name)
    if in_force is None:
        return assessment.ring or Spoken()
    return replace(assessment.ring or Spoken(), generation=in_force.generation, champion=in_force.champion)


def _id(record: AlertRecord) -> UUID:
    assert record.id is not None  # it is stored
    return record.id

"""Assessments to alerts: a row before a message.

1. A raised assessment opens the rule's alert. While one is open its first cause stands; but an
   alarm that rings again has a ring of its own, with its own cause and its own message. A ring says
   what it speaks of and what decided then.
2. Each receiver of the cascade gets a delivery row in the same transaction; what is sent, and
   when, is the business of `monitoring.alerts.deliveries`. So no crash loses a message and none is
   sent for an alert that does not exist. What is done about a ring is
   `services.promotion.rollout`'s business, from the same row.
3. A clear assessment resolves the alert, with a second message, if it looked at what the alert is
   about. An unknown one changes nothing.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from uuid import UUID

from sqlalchemy.orm import Session

from knowgate._records.receivers import Hears
from knowgate.spec import CascadeSpec
from monitoring.alerts.addressees import Addressee, hearing
from monitoring.alerts.messages import SILENCED, Event, alert_document, silence_document
from monitoring.names import Rule
from monitoring.rules.rules import Assessment, Standing
from store.releases.assignments import assignment
from store.releases.rings import RingRecord, Spoken, add_ring, rings_of
from store.watching.alert_acts import AlertAct, last_silence
from store.watching.alerts import AlertRecord, alerts, open_alert, resolve_alert
from store.watching.deliveries import add_delivery, deliveries


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
    """Write the messages about what became of an alert, one per receiver that hears of such.

    While its rule is silenced there are none, but that it is over: who has heard of an alert hears
    of its end. Who keeps silences itself is told all the same.
    """
    silence = last_silence(session, spec.name, record.rule)
    silent = silence is not None and silence.until is not None and now < silence.until
    heard = _heard(session, record) if silent else frozenset()
    for one in _hearing(spec, record):
        if not silent or one.keeps_silences or (event is Event.RESOLVED and one.key in heard):
            _write(session, record, one, event, ring, now)


def announce_silence(session: Session, spec: CascadeSpec, record: AlertRecord, act: AlertAct) -> None:
    """Write the messages about a silence, to those who keep silences themselves."""
    for one in _hearing(spec, record):
        if one.keeps_silences:
            document = partial(silence_document, record, act)
            add_delivery(session, _id(record), one.key, SILENCED, document, now=act.at)


def _break_silence(session: Session, spec: CascadeSpec, record: AlertRecord, now: datetime) -> None:
    """What opened in a silence that is over and stands on is said now, to whoever has not heard of
    it.
    """
    silence = last_silence(session, spec.name, record.rule)
    if silence is None or silence.until is None or not record.opened_at < silence.until <= now:
        return
    quiet = [one for one in _hearing(spec, record) if not one.keeps_silences]
    if _heard(session, record).isdisjoint(one.key for one in quiet):
        ring = rings_of(session, [_id(record)])[0]
        for one in quiet:
            _write(session, record, one, Event.OPENED, ring, now)


def _hearing(spec: CascadeSpec, record: AlertRecord) -> tuple[Addressee, ...]:
    return hearing(spec, Hears.ALERTS, Rule(record.rule).severity)


def _heard(session: Session, record: AlertRecord) -> frozenset[str]:
    return frozenset(delivery.receiver for delivery in deliveries(session, _id(record)))


def _write(
    session: Session, record: AlertRecord, to: Addressee, event: Event, ring: RingRecord | None, now: datetime
) -> None:
    def document(number: int) -> str:
        return alert_document(record, event, number, ring)

    add_delivery(session, _id(record), to.key, event.value, document, now=now)


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

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
4. What opens, or is over, at one look and follows from one cause (`monitoring.rules.roots`) is sent
   in one message, that of the cause. What follows from an alert that was open before has a message
   of its own, which names it. What is critical never stands under what is not, and nothing under
   what is silenced.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from uuid import UUID

from sqlalchemy.orm import Session

from knowgate._records.receivers import Hears, Severity
from knowgate.spec import CascadeSpec
from monitoring.alerts.addressees import Addressee, hearing
from monitoring.alerts.messages import SILENCED, Around, Event, alert_document, silence_document
from monitoring.names import Rule
from monitoring.rules.roots import root_of
from monitoring.rules.rules import Assessment, Standing
from store.releases.assignments import assignment
from store.releases.rings import RingRecord, Spoken, add_ring, rings_of
from store.watching.alert_acts import AlertAct, last_silence
from store.watching.alerts import AlertRecord, alerts, open_alert, resolve_alert
from store.watching.deliveries import add_delivery, deliveries

FOLLOWS_FROM = "follows_from"  # of an alert's details: the rule whose alert explains it


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became of one alert at a look."""

    record: AlertRecord
    event: Event
    cause: str
    ring: RingRecord | None = None

    @property
    def severity(self) -> Severity:
        return Rule(self.record.rule).severity

    @property
    def follows_from(self) -> str | None:
        """The rule whose alert explains this one."""
        said = json.loads(self.record.details).get(FOLLOWS_FROM)
        return None if said is None else str(said)


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
    return next(iter(settle_all(session, spec, [assessment], now=now)), None)


def settle_all(
    session: Session, spec: CascadeSpec, assessments: Sequence[Assessment], *, now: datetime
) -> tuple[AlertChange, ...]:
    """Settle what the rules said at one look: the rows first, then the messages, of one cause
    together (`monitoring.rules.roots`).
    """
    known: dict[str, AlertRecord] = {one.rule: one for one in alerts(session, spec.name, open_only=True)}
    raised = {one.rule for one in assessments if one.standing is Standing.RAISED}
    over = {one.rule for one in assessments if _resolves(one, known.get(one.rule))} - raised
    present = (raised | {Rule(name) for name in known}) - over
    changes = []
    for assessment in assessments:
        change = _settle(session, spec, assessment, known, root_of(assessment.rule, present), now)
        if change is not None:
            known[assessment.rule] = change.record
            changes.append(change)
    for change in changes:
        _tell(session, spec, change, changes, known, now)
    return tuple(AlertChange(rule=Rule(one.record.rule), event=one.event, cause=one.cause) for one in changes)


def _settle(
    session: Session,
    spec: CascadeSpec,
    assessment: Assessment,
    known: Mapping[str, AlertRecord],
    root: Rule | None,
    now: datetime,
) -> Change | None:
    found = known.get(assessment.rule)
    open_now = found if found is not None and found.resolved_at is None else None
    if assessment.standing is Standing.RAISED and open_now is None:
        record, ring = _open(session, spec, assessment, root, now)
        return Change(record=record, event=Event.OPENED, ring=ring, cause=assessment.cause)
    if assessment.standing is Standing.RAISED and assessment.ring is not None and open_now is not None:
        said, spoken = _details(assessment), _spoken(session, spec, assessment)
        ring = add_ring(session, _id(open_now), cause=assessment.cause, details=said, spoken=spoken, now=now)
        return Change(record=open_now, event=Event.RANG_AGAIN, ring=ring, cause=assessment.cause)
    if open_now is not None and _resolves(assessment, open_now):
        resolve_alert(session, spec.name, open_now.rule, resolution=assessment.cause, now=now)
        record = replace(open_now, resolved_at=now, resolution=assessment.cause)
        return Change(record=record, event=Event.RESOLVED, cause=assessment.cause)
    if open_now is not None:
        _break_silence(session, spec, open_now, now)
    return None


def _resolves(assessment: Assessment, open_now: AlertRecord | None) -> bool:
    """Whether it is over, what the alert is about having been looked at."""
    clear = assessment.standing is Standing.CLEAR
    return clear and open_now is not None and assessment.speaks_of(json.loads(open_now.details))


def _tell(
    session: Session,
    spec: CascadeSpec,
    change: Change,
    changes: Sequence[Change],
    known: Mapping[str, AlertRecord],
    now: datetime,
) -> None:
    """Write the messages about a change, one per receiver that hears of such: with what follows
    from it, and without where it stands with what it follows from.
    """
    silent = _silent(session, spec, change.record, now)
    heard = _heard(session, change.record) if silent else frozenset()
    root = known.get(change.follows_from or "")
    for one in _hearing(spec, change.record):
        if silent and not one.keeps_silences and not (change.event is Event.RESOLVED and one.key in heard):
            continue
        if _goes_with_root(session, spec, change, changes, one, now):
            continue
        below = [
            other.record
            for other in changes
            if other.follows_from == change.record.rule
            and other.event is change.event
            and _goes_with_root(session, spec, other, changes, one, now)
        ]
        _write(session, change.record, one, change.event, Around(ring=change.ring, root=root, below=tuple(below)), now)


def _goes_with_root(
    session: Session, spec: CascadeSpec, change: Change, changes: Sequence[Change], to: Addressee, now: datetime
) -> bool:
    """Whether one receiver hears of a change in the message about its root: which became the
    same at this look, reaches it, and is no less severe. Who groups by itself hears of each.
    """
    root = next((one for one in changes if one.record.rule == change.follows_from), None)
    if root is None or root.event is not change.event or to.keeps_silences:
        return False
    less_severe = change.severity is Severity.CRITICAL and root.severity is not Severity.CRITICAL
    quiet = _silent(session, spec, root.record, now) or _silent(session, spec, change.record, now)
    return not less_severe and not quiet and to in _hearing(spec, root.record)


def announce(
    session: Session,
    spec: CascadeSpec,
    record: AlertRecord,
    event: Event,
    ring: RingRecord | None = None,
    *,
    now: datetime,
) -> None:
    """Write the messages about what became of one alert, one per receiver that hears of such.

    While its rule is silenced there are none, but that it is over: who has heard of an alert hears
    of its end. Who keeps silences itself hears of it all the same.
    """
    alone = Change(record=record, event=event, ring=ring, cause=record.cause)
    _tell(session, spec, alone, [alone], {}, now)


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
            _write(session, record, one, Event.OPENED, Around(ring=ring), now)


def _hearing(spec: CascadeSpec, record: AlertRecord) -> tuple[Addressee, ...]:
    return hearing(spec, Hears.ALERTS, Rule(record.rule).severity)


def _heard(session: Session, record: AlertRecord) -> frozenset[str]:
    return frozenset(delivery.receiver for delivery in deliveries(session, _id(record)))


def _silent(session: Session, spec: CascadeSpec, record: AlertRecord, now: datetime) -> bool:
    silence = last_silence(session, spec.name, record.rule)
    return silence is not None and silence.until is not None and now < silence.until


def _write(session: Session, record: AlertRecord, to: Addressee, event: Event, around: Around, now: datetime) -> None:
    def document(number: int) -> str:
        return alert_document(record, event, number, around)

    add_delivery(session, _id(record), to.key, event.value, document, now=now)


def _open(
    session: Session, spec: CascadeSpec, assessment: Assessment, root: Rule | None, now: datetime
) -> tuple[AlertRecord, RingRecord]:
    details = dict(assessment.details) | ({} if root is None else {FOLLOWS_FROM: root.value})
    record = AlertRecord(
        cascade=spec.name,
        rule=assessment.rule.value,
        cause=assessment.cause,
        details=json.dumps(details, sort_keys=True, allow_nan=False),
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

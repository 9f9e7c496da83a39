"""What a person does about an alert: acknowledge it, silence its rule for a while, or say that it
is over. Each with who and why, kept beside the alert and in the ledger.

Nothing here changes what decides: that is `services.promotion.rollout`'s. The command line, the API
and the pages all come here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy.orm import Session

from knowgate._records.receivers import Severity
from monitoring.alerts.alerts import announce, announce_silence
from monitoring.alerts.messages import Event
from monitoring.names import Rule
from services.durations import parse_duration
from services.errors import InputInvalid, Refused
from services.words import require_words
from store.jobs import job_runs
from store.jobs.job_runs import JobRun
from store.releases.cascades import cascade
from store.releases.rings import RingRecord, rings_of
from store.watching.alert_acts import Act, AlertAct, acts_of, add_act, last_silence, looked_after
from store.watching.alerts import AlertRecord, alert, resolve_alert


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """One thing that the service did about an alert."""

    at: datetime
    what: str


class AlertState(StrEnum):
    """Where an alert is."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"  # since its last ring
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertStory:
    """An alert with all that became of it: what the API, `--json` and the pages show."""

    alert: AlertRecord
    title: str
    severity: Severity
    state: AlertState
    runbook: str
    response: str  # what the service does about such by itself
    silenced_until: datetime | None  # no messages about its rule until then; may be past
    rings: tuple[RingRecord, ...]  # oldest first
    acts: tuple[AlertAct, ...]  # oldest first
    deeds: tuple[Deed, ...]  # of the service, oldest first


def stories(session: Session, records: Sequence[AlertRecord]) -> tuple[AlertStory, ...]:
    """These alerts with what became of them, in the same order."""
    keys = [record.id for record in records if record.id is not None]
    rings, acts = rings_of(session, keys), acts_of(session, keys)
    trainings = job_runs.called_by(session, [ring.key for ring in rings])
    return tuple(
        _story(
            record,
            last_silence(session, record.cascade, record.rule),
            tuple(ring for ring in rings if ring.alert_id == record.id),
            tuple(act for act in acts if act.alert_id == record.id),
            trainings,
        )
        for record in records
    )


def story(session: Session, alert_id: UUID) -> AlertStory:
    """One alert with what became of it. Raises AlertUnknown."""
    return stories(session, [alert(session, alert_id)])[0]


def silence_until(duration: str | None, now: datetime) -> datetime | None:
    """When a silence of this duration ends. Raises InputInvalid."""
    try:
        return None if duration is None else now + parse_duration(duration)
    except ValueError as error:
        raise InputInvalid(f"duration is {duration!r}: {error}") from None


def _story(
    record: AlertRecord,
    silence: AlertAct | None,
    rings: tuple[RingRecord, ...],
    acts: tuple[AlertAct, ...],
    trainings: tuple[JobRun, ...],
) -> AlertStory:
    rule = Rule(record.rule)
    return AlertStory(
        alert=record,
        title=rule.headline,
        severity=rule.severity,
        state=_state(record, rings, acts),
        runbook=rule.runbook,
        response=rule.response,
        silenced_until=None if silence is None else silence.until,
        rings=rings,
        acts=acts,
        deeds=_deeds(rings, trainings),
    )


def _deeds(rings: tuple[RingRecord, ...], trainings: tuple[JobRun, ...]) -> tuple[Deed, ...]:
    """What was done about each ring, and the trainings that were made because of one."""
    answered = [Deed(at=ring.answered_at, what=ring.answer) for ring in rings if ring.answered_at and ring.answer]
    keys = {ring.key for ring in rings}
    made = [Deed(at=run.started_at, what=_training(run)) for run in trainings if run.occasion in keys]
    return tuple(sorted(answered + made, key=lambda deed: deed.at))


def _training(run: JobRun) -> str:
    if run.finished_at is None:
        failed = "" if run.last_error is None else f"; its last try failed: {run.last_error}"
        return f"a training was begun for it{failed}"
    return f"a training was made for it: {(run.outcome or 'done').replace('_', ' ')}"


def _state(record: AlertRecord, rings: tuple[RingRecord, ...], acts: tuple[AlertAct, ...]) -> AlertState:
    if record.resolved_at is not None:
        return AlertState.RESOLVED
    rang = max((ring.rang_at for ring in rings), default=record.opened_at)
    return AlertState.OPEN if looked_after(acts, rang) is None else AlertState.ACKNOWLEDGED


def act_on(session: Session, act: AlertAct) -> AlertStory:
    """Carry out one act on an alert; the alert as it is then.

    Raises AlertUnknown, InputInvalid for words that say nothing, for a silence that is over before
    it begins and for another act with an end, and Refused where the alert is resolved already.
    """
    record = alert(session, act.alert_id)
    require_words(by=act.by, reason=act.reason)
    if act.act is Act.SILENCED and (act.until is None or act.until < act.at):
        raise InputInvalid(f"until is {act.until}: give a time from {act.at:%Y-%m-%d %H:%M} UTC on")
    if act.act is not Act.SILENCED and act.until is not None:
        raise InputInvalid(f"duration goes with silenced: leave it out to say {act.act}")
    if record.resolved_at is not None and act.act is not Act.SILENCED:
        raise Refused(f"the alert was resolved on {record.resolved_at:%Y-%m-%d at %H:%M} UTC: nothing is left to do")
    add_act(session, act)
    if act.act is Act.SILENCED:
        announce_silence(session, cascade(session, record.cascade), record, act)
    if act.act is Act.RESOLVED:
        said = f"{act.by}: {act.reason}"
        resolve_alert(session, record.cascade, record.rule, resolution=said, now=act.at)
        record = replace(record, resolved_at=act.at, resolution=said)
        announce(session, cascade(session, record.cascade), record, Event.RESOLVED, now=act.at)
    return stories(session, [record])[0]

"""A training that a person asks for: what is refused at once, and the asking, which is kept with
who and why before anything begins. The scheduler begins it at its next tick; the command line does
so itself.
"""

from datetime import datetime

from sqlalchemy.orm import Session

from knowgate.spec import CascadeSpec, TargetKind
from services.errors import Refused
from services.next_attempt import JOB, NextAttempt, next_attempt
from services.words import require_words
from store.jobs import job_runs
from store.jobs.occasions import Occasion, TrainingReason
from store.releases import cascades
from store.releases.cascade_acts import TRAININGS, CascadeAct, CascadeActKind, add_act, last_act


def ask_training(session: Session, cascade: str, *, why: str, by: str, insist: bool, now: datetime) -> Occasion:
    """Keep that a training is asked for; what it is made for.

    Raises CascadeUnknown, InputInvalid for words that say nothing, and Refused where one is under
    way or asked for already, or where so few decisions are labelled that nothing could be shown and
    nobody insists.
    """
    require_words(reason=why, by=by)
    spec = cascades.cascade(session, cascade)
    _refuse_second(session, cascade, now)
    if not insist:
        _refuse_hopeless(next_attempt(session, cascade, now=now), spec)
    kind = CascadeActKind.INSISTED if insist else CascadeActKind.ASKED
    act = CascadeAct(cascade=cascade, act=kind, by=by, reason=why, at=now)
    return _occasion(act, add_act(session, act))


def training_asked(session: Session, cascade: str) -> CascadeAct | None:
    """The asking that no training was begun for yet."""
    act = last_act(session, cascade, TRAININGS)
    begun = act is None or job_runs.occasion_taken(session, JOB, cascade, str(_occasion(act, act.id).key))
    return None if begun else act


def asked_occasion(session: Session, cascade: str) -> Occasion | None:
    """What the training that is asked for and was not begun yet is to be made for."""
    act = training_asked(session, cascade)
    return None if act is None else _occasion(act, act.id)


def _occasion(act: CascadeAct, key: object) -> Occasion:
    return Occasion(reason=TrainingReason(act.act.value), why=act.reason, key=f"asked:{key}", asked_by=act.by)


def _refuse_second(session: Session, cascade: str, now: datetime) -> None:
    for run in job_runs.job_runs(session, cascade, job=JOB):
        if run.finished_at is None and run.lease_until > now:
            begun = f"{run.owner} began it at {run.started_at:%Y-%m-%d %H:%M} UTC"
            raise Refused(f"a training of {cascade} is under way, or waits for its next try ({begun}): ask again later")
    asked = training_asked(session, cascade)
    if asked is not None:
        when = f"{asked.by} asked at {asked.at:%Y-%m-%d %H:%M} UTC"
        raise Refused(f"a training of {cascade} is asked for already ({when}): the scheduler begins it")


def _refuse_hopeless(coming: NextAttempt | None, spec: CascadeSpec) -> None:
    awaited = None if coming is None else coming.labels
    known, fewest = (0, 1) if awaited is None else (awaited.known, awaited.fewest)
    if known < fewest:
        since = "" if awaited is None or awaited.since is None else f" since {awaited.since:%Y-%m-%d %H:%M} UTC"
        drop = spec.targets.kind is TargetKind.MAX_ACCURACY_DROP
        where = "the first and the last tier" if drop else "the first tier"
        raise Refused(
            f"an attempt for {spec.name} could show nothing: {known} decisions{since} are old enough and labelled at"
            f" {where}, {fewest} are the fewest that could; label more, or add --insist"
        )

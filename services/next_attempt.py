"""When the next training is due, and why: pure arithmetic on what the store says.

1. Its turn: a period (`schedule.train_every`) has ended. Of several that were missed the latest
   counts, since it reads all the history that the others would have.
2. A need between two turns, a pause (`schedule.train_pause`) after the last training, or the first
   decision, at the earliest, so that alarms that ring in a row train once a pause:
   - drift, and the savings alarm: as soon as a day of what they speak of is old enough to be
     learned from; once a period each, since what is true of the window that was learned from is
     true of one that is a day newer;
   - enough labels: as many as the last attempt said that it waits for, else twice as many as it
     had. They are counted, and never read;
   - the risk alarm, and another model: what was decided before counts no more, so as soon as the
     decisions since are enough to show anything.
3. Of a turn that comes less than a pause after a need that was attempted the need took the place.

What the labels say decides nothing here, or chance would choose which certificate is in force
(docs/decisions/0141-when-to-train.md).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from evidence.bounds.fewest_rows import fewest_rows
from knowgate._records.records import Window
from knowgate.policy import PolicyKind
from knowgate.spec import CascadeSpec, TargetKind, Targets
from monitoring.names import Rule
from services.windows import DAY, floor_time
from store.jobs import job_runs
from store.jobs.job_runs import JobRun
from store.jobs.occasions import Occasion, TrainingReason
from store.jobs.trainer_reports import TrainingStatus
from store.labelling.known import known_decisions
from store.labelling.known_hours import Question
from store.releases import cascades, rings
from store.traffic import decisions

JOB = "train"
LOOKED_BACK = 13  # periods of rows that are counted: the longest window that certifies
_ONCE_MATURE = ((Rule.DRIFT, TrainingReason.DRIFT), (Rule.SAVINGS, TrainingReason.SAVINGS))
_NOT_MADE = (TrainingStatus.NOT_ATTEMPTED, TrainingStatus.NO_DATA)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsAwaited:
    """Decisions that may certify: old enough, and labelled at the first tier and, for a drop, the
    last, or else of equal answers there.
    """

    known: int
    needed: int  # with so many an attempt is made before its turn
    fewest: int  # with fewer nothing can be shown
    since: datetime | None = None  # older ones count no more: the risk alarm rang, or a model is another


@dataclass(frozen=True, slots=True, kw_only=True)
class NextAttempt:
    """The training that comes next, as far as it can be foreseen."""

    at: datetime  # not after now: it is due
    occasion: Occasion
    labels: LabelsAwaited | None = None  # None = they were not counted


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    spec: CascadeSpec
    last: JobRun | None
    done_until: datetime  # the end of the last training's window, or the first decision's time
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """Decisions before it do not certify."""

    at: datetime
    occasion: Occasion


def next_attempt(session: Session, cascade: str, *, now: datetime) -> NextAttempt | None:
    """The training that comes next; None before the first decision. Raises CascadeUnknown and
    RecordUnreadable.
    """
    state = _state(session, cascade, now)
    if state is None:
        return None
    cut = _cut(session, cascade)
    return _earliest(session, state, cut, _labels(session, state, cut))


def due_attempt(session: Session, cascade: str, *, now: datetime, count_labels: bool = True) -> NextAttempt | None:
    """The training that is due; None where none is.

    It counts no further than to see whether the labels are enough, and with `count_labels` false
    not at all. Raises as `next_attempt`.
    """
    state = _state(session, cascade, now)
    if state is None:
        return None
    if _turn(state) <= now:
        return NextAttempt(at=_turn(state), occasion=_ITS_TURN)
    if _paused_until(state) > now:
        return None
    cut = _cut(session, cascade)
    coming = _earliest(session, state, cut, _labels(session, state, cut, whole=False) if count_labels else None)
    return coming if coming.at <= now else None


_ITS_TURN = Occasion(reason=TrainingReason.SCHEDULE, why="its turn: a period has ended")


def _state(session: Session, cascade: str, now: datetime) -> _State | None:
    spec = cascades.cascade(session, cascade)
    last = job_runs.last_finished(session, JOB, cascade, until=now)
    done_until = decisions.first_time(session, cascade) if last is None else last.window.end
    return None if done_until is None else _State(spec=spec, last=last, done_until=done_until, now=now)


def _turn(state: _State) -> datetime:
    """When its turn comes: the end of the next period, or of the latest that has ended."""
    every = state.spec.schedule.train_every
    turn = floor_time(state.done_until, every) + every
    if state.last is not None and _took_its_place(state.last, turn, state.spec.schedule.pause):
        turn += every
    return max(turn, floor_time(state.now, every))


def _took_its_place(last: JobRun, turn: datetime, pause: timedelta) -> bool:
    made = last.occasion is not None and last.outcome not in _NOT_MADE
    return made and turn - last.window.end < pause


def _paused_until(state: _State) -> datetime:
    """From when on a need is answered."""
    return state.done_until + state.spec.schedule.pause


def _earliest(session: Session, state: _State, cut: _Cut | None, labels: LabelsAwaited | None) -> NextAttempt:
    """Of all that is foreseen the earliest; its turn where both come at once."""
    coming = [NextAttempt(at=_turn(state), occasion=_ITS_TURN, labels=labels)]
    rang = min(_rang(session, state), key=lambda need: need[0], default=None)
    if rang is not None:
        coming.append(NextAttempt(at=max(rang[0], _paused_until(state)), occasion=rang[1], labels=labels))
    if labels is not None and labels.known >= labels.needed:
        at = max(state.now, _paused_until(state))
        coming.append(NextAttempt(at=at, occasion=_by_labels(session, state, cut, labels), labels=labels))
    return min(coming, key=lambda one: one.at)


def _rang(session: Session, state: _State) -> Iterator[tuple[datetime, Occasion]]:
    """What rang and no training has learned from yet, with the time from which on one can: when a
    day of what it speaks of is old enough.
    """
    for rule, reason in _ONCE_MATURE:
        answered_until = _answered_until(session, state, reason)
        for ring in rings.rings(session, state.spec.name, rule.value):
            began = ring.spoken.since or ring.rang_at - DAY
            mature = max(ring.rang_at, began + DAY + state.spec.horizon)
            if ring.rang_at <= state.now and state.done_until < mature:
                why = f"{reason} alert of {ring.rang_at:%Y-%m-%d %H:%M} UTC: {ring.cause}"
                yield max(mature, answered_until), Occasion(reason=reason, why=why, key=ring.key)


def _answered_until(session: Session, state: _State, reason: TrainingReason) -> datetime:
    """From when on a need of this kind calls again: a period after it was last attempted."""
    last = job_runs.last_finished(session, JOB, state.spec.name, until=state.now, reason=reason)
    made = last is not None and last.outcome not in _NOT_MADE
    return last.window.end + state.spec.schedule.train_every if last is not None and made else state.done_until


def _cut(session: Session, cascade: str) -> _Cut | None:
    """The later of the last ring of the risk alarm and the last change of a model."""
    cuts = []
    rung = rings.rings(session, cascade, Rule.RISK.value)
    if rung:
        ring = rung[-1]
        why = f"risk alarm of {ring.rang_at:%Y-%m-%d %H:%M} UTC: {ring.cause}"
        cuts.append(_Cut(at=ring.read_until, occasion=Occasion(reason=TrainingReason.RISK, why=why, key=ring.key)))
    changed_at = cascades.models_changed_at(session, cascade)
    if changed_at is not None:
        why = f"other models were declared at {changed_at:%Y-%m-%d %H:%M} UTC"
        key = f"model:{changed_at.isoformat()}"
        cuts.append(_Cut(at=changed_at, occasion=Occasion(reason=TrainingReason.MODEL, why=why, key=key)))
    return max(cuts, key=lambda cut: cut.at, default=None)


def _labels(session: Session, state: _State, cut: _Cut | None, *, whole: bool = True) -> LabelsAwaited:
    """What is known and what is needed; with `whole` false only whether that is enough, the numbers
    being cut off where it can be seen that it is not.
    """
    spec, horizon = state.spec, state.spec.horizon
    end = state.now - horizon
    oldest = end - LOOKED_BACK * spec.schedule.train_every
    since = cut.at if cut is not None and cut.at > oldest else None
    start = min(since or oldest, end)
    seen_until = start if state.last is None else min(max(start, state.last.window.end - horizon), end)
    fresh = _known(session, state, seen_until, end)
    before = _known(session, state, start, seen_until, at_most=None if whole else fresh + 1)
    fewest = fewest_labels(spec.targets)
    return LabelsAwaited(known=before + fresh, needed=_needed(state.last, before, fewest), fewest=fewest, since=since)


def _known(session: Session, state: _State, start: datetime, end: datetime, *, at_most: int | None = None) -> int:
    if end <= start:
        return 0
    question = question_of(state.spec)
    return known_decisions(
        session,
        question.cascade,
        Window(start=start, end=end),
        last=question.last,
        as_of=state.now,
        trusted=question.trusted,
        at_most=at_most,
    )


def question_of(spec: CascadeSpec) -> Question:
    """Which decisions may certify."""
    drops = spec.targets.kind is TargetKind.MAX_ACCURACY_DROP
    return Question(cascade=spec.name, last=spec.last if drops else None, trusted=spec.targets.trusted)


def counted_window(session: Session, spec: CascadeSpec, *, now: datetime) -> Window | None:
    """The decision time whose labels are counted for an attempt at most; None where there is
    none yet.
    """
    end = now - spec.horizon
    first = decisions.first_time(session, spec.name)
    start = end - LOOKED_BACK * spec.schedule.train_every
    return None if first is None or first >= end else Window(start=max(start, first - timedelta(hours=1)), end=end)


def fewest_labels(targets: Targets) -> int:
    """How many known decisions it takes to show anything, were all of them to speak for it.

    >>> fewest_labels(Targets(value=0.02, delta=0.1, rule=PolicyKind.P_T))
    114
    """
    fewest = fewest_rows(targets.allowed, targets.delta)
    return fewest if targets.rule is PolicyKind.P_T else 2 * fewest  # half of the prompts teach


def _needed(last: JobRun | None, before: int, fewest: int) -> int:
    """How many known decisions call for an attempt, where the last one had `before`."""
    if before == 0 or last is None or last.outcome == TrainingStatus.NO_DATA:
        return fewest
    if last.outcome == TrainingStatus.NOT_ATTEMPTED and last.labels_needed is not None:
        return before + last.labels_needed
    return max(fewest, 2 * before)


def _by_labels(session: Session, state: _State, cut: _Cut | None, labels: LabelsAwaited) -> Occasion:
    """What an attempt on so many labels is made for: what cut off the older ones, where nothing
    was attempted on those since.
    """
    enough = f"{labels.known} labelled decisions, {labels.needed} were waited for"
    if cut is not None and cut.at == labels.since and not _attempted_since(session, state, cut):
        return replace(cut.occasion, why=f"{cut.occasion.why}; since then {enough}")
    return Occasion(reason=TrainingReason.LABELS, why=enough, key=f"labels:{state.done_until.isoformat()}")


def _attempted_since(session: Session, state: _State, cut: _Cut) -> bool:
    """Whether decisions since the cut were attempted on, in answer to it or by the last
    training.
    """
    last = state.last
    made = last is not None and last.outcome not in _NOT_MADE and last.window.end - state.spec.horizon > cut.at
    return made or job_runs.occasion_taken(session, JOB, state.spec.name, str(cut.occasion.key))

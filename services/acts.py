"""What a person does with a cascade: stop it, resume it, roll it back, put a bundle in force,
approve or decline a challenger, ask for a training, freeze it. Each with who and why, kept in the
ledger.

The command line, the API and the pages all come here. What changes what decides is a move of
`services.promotion.rollout`, from what is in force once the rings that wait are answered.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment
from monitoring.words import short
from services.asked_training import ask_training, training_asked
from services.durations import parse_duration
from services.errors import InputInvalid, Refused
from services.promotion import judging, rollout
from services.promotion.bundle_files import stored_id
from services.promotion.champions import stop_in_force
from services.promotion.prospect import after_a_ring, load_if_stopped
from services.promotion.ring_answers import in_force
from services.promotion.rollout_state import State, Why, described, state_of
from services.promotion.standing import standing_of
from services.settings import Settings
from services.words import require_words
from store.releases import assignments, cascades
from store.releases.cascade_acts import CascadeAct, CascadeActKind, add_act, freeze_in_force
from store.releases.promotions import PromotionRecord


class Act(StrEnum):
    """What may be done, by the last part of its address."""

    STOP = "stop"
    OBSERVE = "observe"
    RESUME = "resume"
    ROLLBACK = "rollback"
    PROMOTE = "promote"
    APPROVE = "approve"
    DECLINE = "decline"
    TRAIN = "train"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person asks for, beside which act."""

    reason: str
    by: str
    bundle: str | None = None  # an id or the start of one; of a rollback: to it
    past_condemned: bool = False  # of a rollback
    despite_alarm: str | None = None  # why a condemned bundle is wanted all the same
    insist: bool = False  # on a training that could hardly win
    until: datetime | None = None  # of a freeze


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """That no job puts anything in force."""

    until: datetime
    by: str
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeState:
    """Where a cascade stands, as whoever acts on it needs to know."""

    cascade: str
    state: State
    sentence: str  # what becomes of a query
    generation: int | None  # None = nothing is assigned yet
    champion: str | None
    challenger: str | None  # that is being tried
    stopped: PromotionRecord | None  # what stopped it, or put it back to be observed, where that is in force
    frozen: Frozen | None
    awaiting: str | None  # the bundle that passed the check and awaits approval
    rollout: str | None  # the step of the challenger that is being tried: since when, and what it waits for
    training_asked: CascadeAct | None  # that the scheduler has not begun yet
    load_if_stopped: str | None  # of the last tier; None where nothing is kept now, or nobody knows
    after_a_ring: str | None  # what it would fall back to; None where it would not

    @property
    def lines(self) -> tuple[str, ...]:
        """The same in sentences without their full stops, for the command line."""
        frozen, asked = self.frozen, self.training_asked
        said = [self.sentence]
        if frozen is not None:
            said.append(f"frozen until {frozen.until:%Y-%m-%d %H:%M} UTC by {frozen.by} ({frozen.reason})")
        if self.awaiting is not None:
            said.append(f"bundle {short(self.awaiting)} passed the check and awaits approval")
        if self.rollout is not None:
            said.append(self.rollout.removesuffix("."))
        if self.load_if_stopped is not None:
            said.append(f"if it were stopped, {self.load_if_stopped[0].lower()}{self.load_if_stopped[1:-1]}")
        if self.after_a_ring is not None:
            said.append(f"{self.after_a_ring[0].lower()}{self.after_a_ring[1:-1]}")
        if asked is not None:
            said.append(f"a training is asked for by {asked.by} ({asked.reason})")
        return tuple(said)


def cascade_state(session: Session, cascade: str, *, now: datetime) -> CascadeState:
    """Where the cascade stands `now`. Raises CascadeUnknown and RecordUnreadable."""
    cascades.cascade_version(session, cascade)
    current = assignments.assignment(session, cascade)
    awaits = judging.awaiting(session, cascade)
    return CascadeState(
        cascade=cascade,
        state=State.OBSERVING if current is None else state_of(current),
        sentence="every query goes to the last tier" if current is None else described(current),
        generation=None if current is None else current.generation,
        champion=None if current is None else current.champion,
        challenger=None if current is None else current.challenger,
        stopped=None if current is None else stop_in_force(session, current),
        frozen=_frozen(session, cascade, now),
        awaiting=None if awaits is None else awaits.bundle,
        rollout=None if current is None else _rollout(session, current, now),
        training_asked=training_asked(session, cascade),
        load_if_stopped=None if current is None else _load(session, current),
        after_a_ring=None if current is None else after_a_ring(session, current, now=now),
    )


def carry_out(session: Session, settings: Settings, cascade: str, act: Act, asked: Asked, *, now: datetime) -> None:
    """Do what a person asks.

    Raises CascadeUnknown, InputInvalid for what says nothing or names no bundle, Refused as the act
    does, GenerationMoved where another came first, and RecordUnreadable.
    """
    require_words(reason=asked.reason, by=asked.by)
    if asked.despite_alarm is not None:
        require_words(despite_alarm=asked.despite_alarm)
    if act is Act.TRAIN:
        ask_training(session, cascade, why=asked.reason, by=asked.by, insist=asked.insist, now=now)
    elif act in (Act.FREEZE, Act.UNFREEZE):
        _freeze(session, cascade, act, asked, now)
    else:
        current = in_force(session, cascade, settings, now=now)
        _MOVES[act](session, current, settings, asked, now)


def freeze_until(duration: str | None, until: datetime | None, now: datetime) -> datetime:
    """When a freeze ends that is asked for by its duration or its end. Raises InputInvalid."""
    if (duration is None) == (until is None):
        raise InputInvalid("a freeze ends: say for how long, or until when, and not both")
    try:
        end = until or now + parse_duration(str(duration))
    except ValueError as error:
        raise InputInvalid(f"duration is {duration!r}: {error}") from None
    return end


def _rollout(session: Session, current: Assignment, now: datetime) -> str | None:
    standing = standing_of(session, current, cascades.cascade(session, current.cascade))
    return None if standing is None else standing.sentence(now=now)


def _load(session: Session, current: Assignment) -> str | None:
    return load_if_stopped(session, current) if state_of(current) is State.ACTIVE else None


def _frozen(session: Session, cascade: str, now: datetime) -> Frozen | None:
    act = freeze_in_force(session, cascade, now=now)
    if act is None or act.until is None:
        return None
    return Frozen(until=act.until, by=act.by, reason=act.reason, since=act.at)


def _freeze(session: Session, cascade: str, act: Act, asked: Asked, now: datetime) -> None:
    cascades.cascade_version(session, cascade)
    if act is Act.FREEZE and (asked.until is None or asked.until <= now):
        raise InputInvalid(f"until is {asked.until}: give a time after {now:%Y-%m-%d %H:%M} UTC")
    if act is Act.UNFREEZE and freeze_in_force(session, cascade, now=now) is None:
        raise Refused(f"cascade {cascade} is not frozen: there is nothing to end")
    kind, until = (CascadeActKind.FROZEN, asked.until) if act is Act.FREEZE else (CascadeActKind.UNFROZEN, None)
    add_act(session, CascadeAct(cascade=cascade, act=kind, by=asked.by, reason=asked.reason, at=now, until=until))


def _why(asked: Asked) -> Why:
    return Why(reason=asked.reason, by=asked.by, despite_alarm=asked.despite_alarm)


def _named(session: Session, current: Assignment, asked: Asked) -> str:
    if not asked.bundle:
        raise InputInvalid("bundle: name one, by its id or the start of it")
    return stored_id(session, asked.bundle, of=current.cascade)


def _stop(session: Session, current: Assignment, settings: Settings, asked: Asked, now: datetime) -> None:
    rollout.stop(session, current, settings, _why(asked), now=now)


def _observe(session: Session, current: Assignment, settings: Settings, asked: Asked, now: datetime) -> None:
    rollout.observe(session, current, settings, _why(asked), now=now)


def _resume(session: Session, current: Assignment, settings: Settings, asked: Asked, now: datetime) -> None:
    rollout.resume(session, current, settings, _why(asked), now=now)


def _roll_back(session: Session, current: Assignment, settings: Settings, asked: Asked, now: datetime) -> None:
    if asked.bundle is not None and asked.past_condemned:
        raise InputInvalid("a bundle to go back to, and past the condemned ones, are two ways: give one")
    if asked.despite_alarm is not None and asked.bundle is None:
        raise InputInvalid("despite_alarm: name the bundle that is wanted all the same")
    to = None if asked.bundle is None else stored_id(session, asked.bundle, of=current.cascade)
    past = asked.past_condemned
    rollout.roll_back(session, current, settings, _why(asked), now=now, to=to, past_condemned=past)


def _promote(session: Session, current: Assignment, settings: Settings, asked: Asked, now: datetime) -> None:
    rollout.choose(session, current, _named(session, current, asked), settings, _why(asked), now=now)


def _approve(session: Session, current: Assignment, settings: Settings, asked: Asked, now: datetime) -> None:
    judging.approve(session, current, _named(session, current, asked), settings, _why(asked), now=now)


def _decline(session: Session, current: Assignment, settings: Settings, asked: Asked, now: datetime) -> None:
    judging.decline(session, current, _named(session, current, asked), settings, _why(asked), now=now)


_MOVES: Mapping[Act, Callable[[Session, Assignment, Settings, Asked, datetime], None]] = {
    Act.STOP: _stop,
    Act.OBSERVE: _observe,
    Act.RESUME: _resume,
    Act.ROLLBACK: _roll_back,
    Act.PROMOTE: _promote,
    Act.APPROVE: _approve,
    Act.DECLINE: _decline,
}

"""The forms by which a person acts on a cascade: what is so now, what would be so then, why, and a
tick that it is meant. One template serves them all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment
from services.acts import Act, Asked, CascadeState, carry_out, cascade_state, freeze_until
from services.errors import InputInvalid
from services.labelling.progress import label_progress
from services.promotion.champions import condemned, former_champions
from services.promotion.lapses import certificate_of
from services.promotion.prospect import certified_ones, load_if_stopped, promised_with_load, prospect_of
from services.promotion.rollout_state import State
from services.settings import Settings
from store.engine import transaction
from store.errors import CascadeUnknown
from store.releases import assignments, bundles, cascades
from store.releases.bundles import BundleStatus

FIELDS = ("bundle", "duration", "reason", "despite_alarm", "insist", "confirm")  # of a form
LONGEST = 500  # characters of a reason
DURATIONS = {  # of a freeze
    "4h": "4 hours",
    "12h": "12 hours",
    "1d": "a day",
    "2d": "2 days",
    "7d": "a week",
    "14d": "two weeks",
    "30d": "30 days",
}
OF_A_BUNDLE = (Act.APPROVE, Act.DECLINE, Act.PROMOTE)  # acts on a bundle that is chosen
MOST = 20  # bundles that may be chosen from, the newest


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How an act is named."""

    do: str  # its title, and its button
    tick: str  # what is confirmed


WORDS: Mapping[Act, Words] = {
    Act.STOP: Words(do="Stop", tick="Let it keep nothing"),
    Act.OBSERVE: Words(do="Observe", tick="Let it keep nothing"),
    Act.RESUME: Words(do="Switch on", tick="Let it decide"),
    Act.ROLLBACK: Words(do="Roll back", tick="Take the present champion out of force"),
    Act.PROMOTE: Words(do="Put in force", tick="Let the bundle decide, whatever the promotion check says"),
    Act.APPROVE: Words(do="Approve", tick="Let the challenger decide"),
    Act.DECLINE: Words(do="Decline", tick="Refuse the challenger for good"),
    Act.TRAIN: Words(do="Train now", tick="Make an attempt, which spends some of the room for a wrong certificate (δ)"),
    Act.FREEZE: Words(do="Freeze", tick="Let no job put anything in force"),
    Act.UNFREEZE: Words(do="Unfreeze", tick="Let what passes come into force again"),
}


def words_of(act: Act, state: State) -> Words:
    """The act's names: what was stopped is resumed, what is observed is switched on."""
    return replace(WORDS[act], do="Resume") if act is Act.RESUME and state is State.STOPPED else WORDS[act]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A bundle that may be chosen."""

    bundle: str
    status: BundleStatus
    created_at: datetime
    sentence: str  # what it promises
    condemned: str | None  # by what


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """How long a freeze may last."""

    value: str  # as the form sends it
    word: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ActPage:
    """All that a form shows."""

    act: Act
    words: Words
    stands: CascadeState
    then: tuple[str, ...]  # what would be so, a sentence each
    choices: tuple[Choice, ...] = ()
    chosen: str | None = None  # of the choices
    condemned: bool = False  # what would decide is, or one of the choices: a reason is asked for it
    lengths: tuple[Length, ...] = ()

    @property
    def possible(self) -> bool:
        """Whether there is anything to act on."""
        return bool(self.choices) or self.act not in OF_A_BUNDLE


@dataclass(frozen=True, slots=True, kw_only=True)
class ActsBlock:
    """What may be done with a cascade now: what `_acts.html` shows."""

    stands: CascadeState
    acts: tuple[tuple[Act, str], ...]  # each with its word


def acts_block(session: Session, cascade: str, *, now: datetime) -> ActsBlock:
    """What a person may do with the cascade now. Raises CascadeUnknown and RecordUnreadable."""
    stands = cascade_state(session, cascade, now=now)
    offered: list[Act] = [Act.APPROVE] if stands.awaiting is not None else []
    offered += [Act.DECLINE] if _declinable(stands) else []
    offered += [] if stands.state is State.ACTIVE else [Act.RESUME]
    offered += [] if stands.state is State.STOPPED else [Act.STOP]
    offered += [] if stands.state is State.OBSERVING else [Act.OBSERVE]
    offered += [] if stands.champion is None else [Act.ROLLBACK]
    offered += [Act.PROMOTE, Act.TRAIN, Act.FREEZE if stands.frozen is None else Act.UNFREEZE]
    return ActsBlock(stands=stands, acts=tuple((act, words_of(act, stands.state).do) for act in offered))


def act_page(session: Session, name: str, act: Act, *, bundle: str | None = None, now: datetime) -> ActPage:
    """The form of one act; `bundle` is chosen from the start. Raises CascadeUnknown, also where
    nothing is assigned.
    """
    current = assignments.assignment(session, name)
    if current is None:
        raise CascadeUnknown(name, cascades.cascade_names(session))
    stands, against = cascade_state(session, name, now=now), condemned(session, name)
    choices = tuple(
        Choice(
            bundle=record.id,
            status=record.status,
            created_at=record.created_at,
            sentence=promised_with_load(session, current, certificate_of(record)),
            condemned=against.get(record.id),
        )
        for record in (bundles.bundle(session, one) for one in _choosable(session, current, act, stands))
    )
    chosen = next((one.bundle for one in choices if bundle is not None and one.bundle.startswith(bundle)), None)
    asked_why = act is Act.RESUME and stands.champion in against
    return ActPage(
        act=act,
        words=words_of(act, stands.state),
        stands=stands,
        then=_then(session, current, act, stands, now),
        choices=choices,
        chosen=chosen or (None if act is Act.PROMOTE else _first_blameless(choices)),
        condemned=asked_why or any(one.condemned is not None for one in choices),
        lengths=_lengths(now) if act is Act.FREEZE else (),
    )


def _first_blameless(choices: tuple[Choice, ...]) -> str | None:
    return next((one.bundle for one in choices if one.condemned is None), None)


def _lengths(now: datetime) -> tuple[Length, ...]:
    return tuple(
        Length(value=value, word=word, until=freeze_until(value, None, now)) for value, word in DURATIONS.items()
    )


def make(
    engine: Engine, settings: Settings, name: str, act: Act, form: dict[str, str], *, by: str, now: datetime
) -> None:
    """Does what the form asks for. Raises InputInvalid for a form that is not filled in, and as
    `carry_out`.
    """
    asked = _asked(form, act, by, now)
    with transaction(engine) as session:
        carry_out(session, settings, name, act, asked, now=now)


def _asked(form: dict[str, str], act: Act, by: str, now: datetime) -> Asked:
    reason, despite = _line(form, "reason"), _line(form, "despite_alarm")
    if not reason:
        raise InputInvalid(f"reason: give it in one line of at most {LONGEST} characters")
    if form.get("confirm") != "yes":
        raise InputInvalid("confirm: tick the box, to say that it is meant")
    return Asked(
        reason=reason,
        by=by,
        bundle=form.get("bundle") or None,
        despite_alarm=despite or None,
        insist=form.get("insist") == "yes",
        until=freeze_until(form.get("duration"), None, now) if act is Act.FREEZE else None,
    )


def _line(form: dict[str, str], name: str) -> str:
    said = form.get(name, "").strip()
    if len(said) > LONGEST or not said.isprintable():
        raise InputInvalid(f"{name}: give it in one line of at most {LONGEST} characters")
    return said


def _choosable(session: Session, current: Assignment, act: Act, stands: CascadeState) -> tuple[str, ...]:
    if act is Act.ROLLBACK:
        return former_champions(session, current)[:MOST]
    if act is Act.PROMOTE:
        in_force = current.champion if stands.state is State.ACTIVE else None
        return tuple(one.id for one in certified_ones(session, current.cascade) if one.id != in_force)[:MOST]
    if act is Act.APPROVE and stands.awaiting is not None:
        return (stands.awaiting,)
    return _declinable(stands) if act is Act.DECLINE else ()


def _declinable(stands: CascadeState) -> tuple[str, ...]:
    """The challengers that wait, or are being tried."""
    return tuple(one for one in (stands.awaiting, stands.challenger) if one is not None)


def _then(session: Session, current: Assignment, act: Act, stands: CascadeState, now: datetime) -> tuple[str, ...]:
    if act in (Act.STOP, Act.OBSERVE):
        load = load_if_stopped(session, current) if stands.state is State.ACTIVE else None
        return (_NOTHING_KEPT, *(() if load is None else (load,)))
    if act is Act.RESUME:
        return (prospect_of(session, current).sentence,)
    if act is Act.ROLLBACK and not former_champions(session, current):
        return ("There is no former champion: every query would go to the last tier, and a share be observed.",)
    if act in (Act.APPROVE, Act.DECLINE) and not _choosable(session, current, act, stands):
        return ("No challenger awaits approval.",)
    if act is Act.PROMOTE and not _choosable(session, current, act, stands):
        return ("There is no other certified bundle that could be put in force: train one first.",)
    if act is Act.TRAIN:
        labels = label_progress(session, current.cascade, now=now).sentence
        return (_SENTENCES[act], f"Labels: {labels}.")
    return (_SENTENCES[act],)


_NOTHING_KEPT = (
    "Nothing is kept from then on: the last tier answers every query at once, and the others run beside it on a share "
    "of them. Nothing is promised while that lasts, and only a person ends it."
)
_SENTENCES: Mapping[Act, str] = {
    Act.ROLLBACK: "The bundle chosen decides from then on; the present one is no former champion afterwards.",
    Act.PROMOTE: "The bundle chosen decides from then on; what the promotion check says is kept beside the reason.",
    Act.APPROVE: "It passed the promotion check, which is made once more. Then it takes its first step, or decides "
    "at once where no steps are declared.",
    Act.DECLINE: "It is refused, and no job judges it again. One that is being tried decides nothing any more.",
    Act.TRAIN: "The scheduler makes an attempt at its next tick.",
    Act.FREEZE: "What passes the promotion check waits until then. What stops a cascade acts all the same, and so "
    "does a person.",
    Act.UNFREEZE: "What waits comes into force at the next tick.",
}

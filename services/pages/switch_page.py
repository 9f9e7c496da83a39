"""The form that switches a cascade on, or puts it back to be observed: what would be so then, why,
and a tick that it is meant.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from services.errors import InputInvalid
from services.promotion import ring_answers, rollout
from services.promotion.prospect import Prospect, prospect_of
from services.promotion.rollout_state import State, Why, described, state_of
from services.settings import Settings
from store.engine import transaction
from store.errors import CascadeUnknown
from store.releases import assignments, cascades

MOVES = {"observe": rollout.observe, "resume": rollout.resume}
LONGEST = 500  # characters of a reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchPage:
    """All that the form shows."""

    cascade: str
    move: str  # observe or resume
    now: str  # what is in force, in words
    prospect: Prospect
    observed: bool  # it keeps nothing now


def switch_page(session: Session, name: str, move: str) -> SwitchPage:
    """The form of one move. Raises CascadeUnknown, also where nothing is assigned."""
    current = assignments.assignment(session, name)
    if current is None:
        raise CascadeUnknown(name, cascades.cascade_names(session))
    observed = state_of(current) is not State.ACTIVE
    prospect = prospect_of(session, current)
    return SwitchPage(cascade=name, move=move, now=described(current), prospect=prospect, observed=observed)


def make_move(
    engine: Engine, settings: Settings, name: str, move: str, form: dict[str, str], *, by: str, now: datetime
) -> None:
    """Makes the move that the form asks for. Raises InputInvalid for a form that is not filled in,
    Refused as the move does, GenerationMoved where another came first, and CascadeUnknown.
    """
    made: Any = partial(MOVES[move], settings=settings, why=_why(form, by), now=now)
    with transaction(engine) as session:
        made(session, ring_answers.in_force(session, name, settings, now=now))


def _why(form: dict[str, str], by: str) -> Why:
    reason = form.get("reason", "").strip()
    if not reason or len(reason) > LONGEST or not reason.isprintable():
        raise InputInvalid(f"reason: give it in one line of at most {LONGEST} characters")
    if form.get("confirm") != "yes":
        raise InputInvalid("confirm: tick the box, to say that it is meant")
    return Why(reason=reason, by=by)

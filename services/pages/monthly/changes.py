"""What changed in a month, and what was judged: moves of what is in force, declarations,
challengers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy.orm import Session

from knowgate._records.records import Window
from knowgate.spec import CascadeSpec
from services.pages.cascades.promise import owed
from services.pages.numbers import short
from services.pages.words import move_word
from store.releases.cascades import Declaration
from store.releases.promotions import Outcome, PromotionRecord, promotions

_JUDGED = (Outcome.PROMOTED, Outcome.REFUSED, Outcome.HELD_BACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of what is in force or declared."""

    at: datetime
    word: str
    text: str
    by: str  # a person's name, the service, or that it is not recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One challenger that was judged."""

    at: datetime
    word: str  # Promoted, Declined, Held back
    bundle: str | None
    reason: str


def changes_of(session: Session, name: str, month: Window, versions: Sequence[Declaration]) -> tuple[Change, ...]:
    """Moves and declarations of the month, earliest first."""
    found = [
        Change(
            at=row.decided_at,
            word=move_word(row.outcome).removesuffix(" to"),
            text=_moved(row),
            by=row.decided_by or "knowgate",
        )
        for row in promotions(session, name)
        if row.outcome.moves and month.start <= row.decided_at < month.end
    ]
    before: CascadeSpec | None = None
    for one in versions:
        if month.start <= one.applied_at < month.end:
            text = _declared(before, one)
            found.append(Change(at=one.applied_at, word=f"Declaration {one.version}", text=text, by="not recorded"))
        before = one.spec or before
    return tuple(sorted(found, key=lambda change: change.at))


def judged_of(session: Session, name: str, month: Window) -> tuple[Judged, ...]:
    """The challengers of the month, in the order in which they were judged."""
    return tuple(
        Judged(at=row.decided_at, word=move_word(row.outcome).removesuffix(" to"), bundle=row.bundle, reason=row.reason)
        for row in promotions(session, name)
        if row.outcome in _JUDGED and month.start <= row.decided_at < month.end
    )


def _moved(row: PromotionRecord) -> str:
    return row.reason if row.bundle is None else f"{short(row.bundle)}: {row.reason}"


def _declared(before: CascadeSpec | None, now: Declaration) -> str:
    """What a declaration changed, in words."""
    if now.spec is None:
        return "it cannot be read by this version"
    if before is None:
        return f"first declared: {owed(now.spec)}"
    said = []
    if owed(before) != owed(now.spec):
        said.append(f"the promise from “{owed(before)}” to “{owed(now.spec)}”")
    models = [tuple(tier.named_model for tier in spec.tiers) for spec in (before, now.spec)]
    if models[0] != models[1]:
        said.append(f"the models from {' → '.join(models[0])} to {' → '.join(models[1])}")
    moved = {one.name for one in fields(CascadeSpec) if getattr(before, one.name) != getattr(now.spec, one.name)}
    others = sorted(moved - ({"targets"} if owed(before) != owed(now.spec) else set()))
    others = [name for name in others if not (name == "tiers" and models[0] != models[1])]
    if others:
        said.append(f"its {', '.join(name.replace('_', ' ') for name in others)}")
    return f"changed {'; '.join(said)}" if said else "changed nothing that is shown here"

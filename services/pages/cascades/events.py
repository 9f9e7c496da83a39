"""What happened to a cascade, in sentences: what was put in force or declined, what rang, what was
declared. The same events are marks on the charts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from monitoring.names import Rule
from services.pages.numbers import short
from services.pages.words import move_word
from store.releases import cascades, promotions
from store.releases.cascade_acts import FREEZES, acts_of
from store.releases.promotions import Outcome, PromotionRecord
from store.watching import alerts
from store.watching.alerts import AlertRecord

# Which kind of mark a move is; any other that changed something is a promotion.
_KINDS = {
    Outcome.REFUSED: "decline",
    Outcome.HELD_BACK: "decline",
    Outcome.STOPPED: "stop",
    Outcome.RESUMED: "resume",
    Outcome.OBSERVED: "stop",
    Outcome.SHADOWED: "promotion",
    Outcome.SHARED: "promotion",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PageEvent:
    """Something that happened, when it happened."""

    at: datetime
    kind: str  # promotion, decline, stop, resume, alert, declaration
    text: str  # a sentence
    who: str | None = None  # a person; None = the service
    href: str | None = None  # where more is said
    word: str = ""  # its kind as a person says it


def events_of(session: Session, name: str) -> tuple[PageEvent, ...]:
    """Everything so far, newest first."""
    found = [*_moves(session, name), *_alerts(session, name), *_freezes(session, name), *_declarations(session, name)]
    return tuple(sorted(found, key=lambda event: event.at, reverse=True))


def _moves(session: Session, name: str) -> Iterator[PageEvent]:
    for row in promotions.promotions(session, name):
        yield PageEvent(at=row.decided_at, kind=_kind(row), text=_sentence(row), who=row.decided_by, word=_word(row))


def _kind(row: PromotionRecord) -> str:
    return _KINDS.get(row.outcome, "promotion" if row.outcome.moves else "decline")


def _word(row: PromotionRecord) -> str:
    return move_word(row.outcome).removesuffix(" to").lower()


def _sentence(row: PromotionRecord) -> str:
    of = "" if row.bundle is None or row.outcome in (Outcome.STOPPED, Outcome.OBSERVED) else f" {short(row.bundle)}"
    return f"{move_word(row.outcome)}{of}: {row.reason}"


def _alerts(session: Session, name: str) -> Iterator[PageEvent]:
    for alert in alerts.alerts(session, name):
        href = f"/alerts/{alert.id}"
        yield PageEvent(at=alert.opened_at, kind="alert", text=headline(alert), href=href, word="alert")
        if alert.resolved_at is not None:
            text = f"Over: {headline(alert)} {alert.resolution or ''}".strip()
            yield PageEvent(at=alert.resolved_at, kind="resume", text=text, href=href, word="resolved")


def headline(alert: AlertRecord) -> str:
    """What the alert says, in a sentence; of a rule that is known no more, its name."""
    try:
        return Rule(alert.rule).headline
    except ValueError:
        return f"{alert.rule.replace('_', ' ').capitalize()}."


def _freezes(session: Session, name: str) -> Iterator[PageEvent]:
    for act in acts_of(session, name, FREEZES):
        until = "" if act.until is None else f" until {act.until:%Y-%m-%d %H:%M} UTC"
        text = f"{act.act.value.capitalize()}{until}: {act.reason}"
        yield PageEvent(at=act.at, kind="declaration", text=text, who=act.by, word=act.act.value)


def _declarations(session: Session, name: str) -> Iterator[PageEvent]:
    for version, applied_at in cascades.versions_applied(session, name):
        text = "First declared." if version == 1 else f"Declaration {version} was put in force."
        yield PageEvent(at=applied_at, kind="declaration", text=text, word="declared")

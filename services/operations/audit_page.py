"""The page of the ledger: what is sealed, who verified it when, and its newest head to take
away.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from knowgate._wire.shown import shown_url
from services.pages.words import move_word
from services.settings import Settings
from store.ledger import ledger
from store.ledger.ledger import SealedBatch
from store.ledger.verifications import VerificationRecord, last_good, verifications
from store.releases import cascade_acts
from store.releases.cascade_acts import CascadeActKind
from store.releases.promotions import newest_promotions
from store.watching import alert_acts
from store.watching.alerts import alert

BATCHES = 20  # that are shown
MOVES = 50
_ASKED = {
    CascadeActKind.FROZEN: "frozen",
    CascadeActKind.UNFROZEN: "unfrozen",
    CascadeActKind.ASKED: "training asked for",
    CascadeActKind.INSISTED: "training insisted on",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What somebody, or the service, changed."""

    at: datetime
    cascade: str
    what: str
    why: str
    who: str | None  # None = the service
    bundle: str | None = None
    alert: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """All that the page shows."""

    sealed: int  # batches
    batches: tuple[SealedBatch, ...]  # the newest, newest first
    unsealed: int  # leaves that the next batch will hold
    oldest_unsealed: datetime | None
    heads_url: str  # where heads are exported to, without what is secret of it
    signed: bool  # heads are signed
    verified_until: int  # batch; 0 = none is
    verifications: tuple[VerificationRecord, ...]  # newest first
    moves: tuple[Moved, ...]  # of all cascades, newest first


def audit_page(session: Session, settings: Settings) -> AuditPage:
    """The page as it is now."""
    batches, good = ledger.newest_batches(session, limit=BATCHES), last_good(session)
    waiting = ledger.unsealed_count(session)
    return AuditPage(
        sealed=batches[0].number if batches else 0,
        batches=batches,
        unsealed=waiting.leaves,
        oldest_unsealed=waiting.oldest,
        heads_url=shown_url(settings.heads_url),
        signed=settings.signing_key is not None,
        verified_until=0 if good is None else good.last_batch,
        verifications=verifications(session),
        moves=_moves(session),
    )


def _moves(session: Session) -> tuple[Moved, ...]:
    moves = [
        Moved(
            at=one.decided_at,
            cascade=one.cascade,
            what=move_word(one.outcome).removesuffix(" to").lower(),
            why=one.reason,
            who=one.decided_by,
            bundle=one.bundle,
        )
        for one in newest_promotions(session, limit=MOVES)
    ]
    moves += [
        Moved(at=one.at, cascade=one.cascade, what=_ASKED.get(one.act, one.act.value), why=one.reason, who=one.by)
        for one in cascade_acts.newest_acts(session, limit=MOVES)
    ]
    for act in alert_acts.newest_acts(session, limit=MOVES):
        about = alert(session, act.alert_id)
        what = f"alert {about.rule.replace('_', ' ')} {act.act.value}"
        moved = Moved(at=act.at, cascade=about.cascade, what=what, why=act.reason, who=act.by, alert=act.alert_id)
        moves.append(moved)
    return tuple(sorted(moves, key=lambda move: move.at, reverse=True)[:MOVES])

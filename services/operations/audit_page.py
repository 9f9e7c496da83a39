"""The page of the ledger: what is sealed, who verified it when, and its newest head to take
away.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from knowgate._wire.shown import shown_url
from services.audit.heads import Head, head_of
from services.settings import Settings
from store.ledger import ledger
from store.ledger.ledger import SealedBatch
from store.ledger.verifications import VerificationRecord, last_good, verifications
from store.releases.promotions import PromotionRecord, newest_promotions

BATCHES = 20  # that are shown
MOVES = 50


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
    moves: tuple[PromotionRecord, ...]  # of all cascades, newest first


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
        moves=newest_promotions(session, limit=MOVES),
    )


def newest_head(session: Session, settings: Settings) -> Head | None:
    """The head over all batches so far; None where nothing is sealed."""
    hashes = ledger.batch_hashes(session)
    return head_of(hashes, settings.signing_key) if hashes else None

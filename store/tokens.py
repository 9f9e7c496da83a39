"""Bearer tokens. The plaintext is shown once and never kept; what is kept is its SHA-256.

A token is 256 random bits, so a plain hash is enough: there is nothing to guess.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from knowgate._records.ids import new_id
from store import dialects
from store.claims import changed
from store.errors import TokenNameTaken
from store.rows import record_of, records, row_of
from store.tables import TokenRow

PREFIX = "kg_"
_TOUCH_AFTER = timedelta(minutes=1)  # `last_used_at` is no finer than this, or every request would write


class TokenRole(StrEnum):
    INGEST = "ingest"
    RUNTIME = "runtime"
    READ = "read"
    OPERATOR = "operator"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """A token without its secret."""

    id: UUID
    name: str
    role: TokenRole
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


def create_token(session: Session, name: str, role: TokenRole, now: datetime) -> str:
    """Make a token; its plaintext, which is not kept. Raises TokenNameTaken."""
    plaintext = PREFIX + secrets.token_urlsafe(32)
    row = row_of(TokenRow, id=new_id(now), name=name, sha256=_hash(plaintext), role=TokenRole(role), created_at=now)
    if not dialects.insert_new(session, TokenRow, [row], returning="id"):
        raise TokenNameTaken(name)
    return plaintext


def verify_token(session: Session, plaintext: str, *, now: datetime | None = None) -> TokenRecord | None:
    """The token, if it is known and not revoked; else None. With `now`, its use is noted (in a
    writing transaction).
    """
    query = select(TokenRow).where(TokenRow.sha256 == _hash(plaintext), TokenRow.revoked_at.is_(None))
    row = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if row is None:
        return None
    if now is not None and (row.last_used_at is None or now - row.last_used_at >= _TOUCH_AFTER):
        session.execute(update(TokenRow).where(TokenRow.id == row.id).values(last_used_at=now))
    return record_of(TokenRecord, row)


def revoke_token(session: Session, name: str, *, now: datetime) -> bool:
    """Revoke a token by its name; False when there is none of that name that still works."""
    result = session.execute(
        update(TokenRow).where(TokenRow.name == name, TokenRow.revoked_at.is_(None)).values(revoked_at=now)
    )
    return changed(result) == 1


def tokens(session: Session) -> tuple[TokenRecord, ...]:
    """All tokens, revoked ones too, by name."""
    query = select(TokenRow).order_by(TokenRow.name)
    return records(session, TokenRecord, query)


def _hash(plaintext: str) -> str:
    return hashlib.sha256(plaintext.encode()).hexdigest()

"""Bearer tokens. The plaintext is shown once and never kept; what is kept is its SHA-256.

A token is 256 random bits, so a plain hash is enough: there is nothing to guess. It is of one role,
for all cascades or for those that it names, until it expires or is revoked.
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from knowgate._records.ids import new_id
from store import dialects
from store.claims import changed
from store.errors import TokenNameTaken, TokenUnknown
from store.rejections import storable
from store.rows import record_of, row_of
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
class NewToken:
    """What a token is to be."""

    name: str
    role: TokenRole
    cascades: tuple[str, ...] | None = None  # None = all
    expires_at: datetime | None = None
    created_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord(NewToken):
    """A token without its secret."""

    id: UUID
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None

    def ended(self, now: datetime) -> str | None:
        """Why it opens nothing any more; None where it does."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return f"expired on {self.expires_at:%Y-%m-%d at %H:%M} UTC"
        return None

    def unnoted(self, now: datetime) -> bool:
        """Whether a use `now` is worth noting: not within a minute of the one that is noted."""
        return self.last_used_at is None or now - self.last_used_at >= _TOUCH_AFTER


def create_token(session: Session, name: str, role: TokenRole, now: datetime) -> str:
    """Make a token for all cascades that does not expire; its plaintext. Raises TokenNameTaken."""
    return add_token(session, NewToken(name=name, role=TokenRole(role)), now=now)


def add_token(session: Session, wanted: NewToken, *, now: datetime) -> str:
    """Make a token; its plaintext, which is not kept. Raises TokenNameTaken."""
    plaintext = PREFIX + secrets.token_urlsafe(32)
    said = joined(wanted.cascades)
    row = row_of(TokenRow, wanted, id=new_id(now), sha256=hash_of(plaintext), created_at=now, cascades=said)
    if not dialects.insert_new(session, TokenRow, [row], returning="id"):
        raise TokenNameTaken(wanted.name)
    return plaintext


def find_token(session: Session, plaintext: str) -> TokenRecord | None:
    """The token, revoked and expired ones too; None where there is no such."""
    query = select(TokenRow).where(TokenRow.sha256 == hash_of(plaintext))
    row = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    return None if row is None else _record(row)


def note_use(session: Session, token: TokenRecord, *, now: datetime) -> None:
    """Note that a token was used, to the minute."""
    if token.unnoted(now):
        session.execute(update(TokenRow).where(TokenRow.id == token.id).values(last_used_at=now))


def token_named(session: Session, name: str) -> TokenRecord:
    """The token of this name, revoked or not. Raises TokenUnknown."""
    query = select(TokenRow).where(TokenRow.name == name).execution_options(populate_existing=True)
    row = session.scalars(query).one_or_none() if storable(name) else None
    if row is None:
        raise TokenUnknown(name)
    return _record(row)


def revoke_token(session: Session, name: str, *, now: datetime, by: str | None = None) -> bool:
    """Revoke a token by its name; False when there is none of that name that is not revoked."""
    result = session.execute(
        update(TokenRow)
        .where(TokenRow.name == name, TokenRow.revoked_at.is_(None))
        .values(revoked_at=now, revoked_by=by)
    )
    return changed(result) == 1


def tokens(session: Session) -> tuple[TokenRecord, ...]:
    """All tokens, revoked ones too, by name."""
    query = select(TokenRow).order_by(TokenRow.name).execution_options(populate_existing=True)
    return tuple(map(_record, session.scalars(query)))


def joined(cascades: Iterable[str] | None) -> str | None:
    """Names of cascades as they are stored, each once and in their order."""
    return None if cascades is None else ",".join(sorted(set(cascades)))


def parted(stored: str | None) -> tuple[str, ...] | None:
    """The same read again."""
    return None if stored is None else tuple(name for name in stored.split(",") if name)


def hash_of(plaintext: str) -> str:
    """What is kept of a secret, in hex."""
    return hashlib.sha256(plaintext.encode("utf-8", "surrogatepass")).hexdigest()


def _record(row: TokenRow) -> TokenRecord:
    return record_of(TokenRecord, row, cascades=parted(row.cascades))

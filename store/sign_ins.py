"""Sign-ins of people to the pages. Each has a secret of its own that its browser keeps, apart from
the token or the identity provider that let the person in; what is kept here is its SHA-256.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from knowgate._records.ids import new_id
from store import dialects
from store.rows import record_of, row_of
from store.tables import SignInRow, TokenRow
from store.tokens import TokenRole, hash_of, joined, parted

PREFIX = "kgs_"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSignIn:
    """Who signs in, and how far it opens."""

    name: str
    role: TokenRole
    cascades: tuple[str, ...] | None  # None = all
    token_id: UUID | None  # None = an identity provider said who it is
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInRecord(NewSignIn):
    """A sign-in without its secret."""

    id: UUID
    created_at: datetime
    ended_at: datetime | None
    token_revoked_at: datetime | None
    token_expires_at: datetime | None

    def ended(self, now: datetime) -> bool:
        """Whether it opens nothing any more: signed out, too old, or its token is."""
        ends = [time for time in (self.expires_at, self.token_expires_at) if time is not None]
        return self.ended_at is not None or self.token_revoked_at is not None or min(ends) <= now


def add_sign_in(session: Session, wanted: NewSignIn, *, now: datetime) -> str:
    """Keep a sign-in; the secret that its browser is given, which is not kept."""
    plaintext = PREFIX + secrets.token_urlsafe(32)
    said = joined(wanted.cascades)
    row = row_of(SignInRow, wanted, id=new_id(now), sha256=hash_of(plaintext), created_at=now, cascades=said)
    dialects.insert_new(session, SignInRow, [row], returning="id")
    return plaintext


def find_sign_in(session: Session, plaintext: str) -> SignInRecord | None:
    """The sign-in of this secret, ended ones too; None where there is no such."""
    query = select(SignInRow, TokenRow.revoked_at, TokenRow.expires_at).outerjoin(
        TokenRow, TokenRow.id == SignInRow.token_id
    )
    found = session.execute(
        query.where(SignInRow.sha256 == hash_of(plaintext)).execution_options(populate_existing=True)
    ).one_or_none()
    if found is None:
        return None
    row, revoked_at, expires_at = found
    given = {"cascades": parted(row.cascades), "token_revoked_at": revoked_at, "token_expires_at": expires_at}
    return record_of(SignInRecord, row, **given)


def end_sign_in(session: Session, plaintext: str, *, now: datetime) -> None:
    """Make the secret worthless; nothing where it is already."""
    session.execute(
        update(SignInRow)
        .where(SignInRow.sha256 == hash_of(plaintext), SignInRow.ended_at.is_(None))
        .values(ended_at=now)
    )

"""Bearer tokens, and the sign-ins of people: of either secret only the hash is kept."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base


class TokenRow(Base):
    """One token."""

    __tablename__ = "token"
    __table_args__ = (
        UniqueConstraint("name"),
        UniqueConstraint("sha256"),
        CheckConstraint("role in ('ingest', 'runtime', 'read', 'operator', 'admin')", name="role"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    sha256: Mapped[str]
    role: Mapped[str]
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    cascades: Mapped[str | None]  # their names, with commas between; null = all
    expires_at: Mapped[datetime | None]
    created_by: Mapped[str | None]
    revoked_by: Mapped[str | None]


class SignInRow(Base):
    """One person's sign-in to the pages."""

    __tablename__ = "sign_in"
    __table_args__ = (
        UniqueConstraint("sha256"),
        CheckConstraint("role in ('read', 'operator', 'admin')", name="role"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    sha256: Mapped[str]
    role: Mapped[str]
    cascades: Mapped[str | None]
    token_id: Mapped[UUID | None] = mapped_column(ForeignKey("token.id"))  # null = an identity provider said who it is
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

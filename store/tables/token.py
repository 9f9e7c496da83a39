"""Bearer tokens: only their hash is kept."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, UniqueConstraint
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

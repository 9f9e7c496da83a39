"""Alerts and the messages about them: an alert is a row before it is a message."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base, JsonType

_OPEN = text("resolved_at IS NULL")


class AlertRow(Base):
    """One alert; at most one is open per cascade and rule."""

    __tablename__ = "alert"
    __table_args__ = (
        Index("ix_alert_cascade_opened_at", "cascade", "opened_at"),
        Index("uq_alert_open", "cascade", "rule", unique=True, postgresql_where=_OPEN, sqlite_where=_OPEN),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"))
    rule: Mapped[str]
    cause: Mapped[str]
    details: Mapped[Any] = mapped_column(JsonType)
    opened_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
    resolution: Mapped[str | None]


class RingRow(Base):
    """One time that an alert was raised: the first opened it, further ones came while
    it was open.
    """

    __tablename__ = "ring"

    alert_id: Mapped[UUID] = mapped_column(ForeignKey("alert.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # from 1
    cause: Mapped[str]
    details: Mapped[Any] = mapped_column(JsonType)
    rang_at: Mapped[datetime]
    since: Mapped[datetime | None]  # decision time of the harm it speaks of; None = it does not say
    until: Mapped[datetime | None]
    generation: Mapped[int | None]  # of the assignment in force when it rang
    champion: Mapped[str | None]
    accused: Mapped[Any] = mapped_column(JsonType)  # bundles whose own decisions show the harm
    answered_at: Mapped[datetime | None]
    answer: Mapped[str | None]  # what was done about it
    stopped: Mapped[str | None]  # the bundle that was stopped because of it


class AlertActRow(Base):
    """What a person did about an alert: rows are added, never changed."""

    __tablename__ = "alert_act"
    __table_args__ = (
        Index("ix_alert_act_alert_id", "alert_id"),
        CheckConstraint("act in ('acknowledged', 'silenced', 'resolved')", name="act"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    alert_id: Mapped[UUID] = mapped_column(ForeignKey("alert.id"))
    act: Mapped[str]
    by: Mapped[str]
    reason: Mapped[str]
    at: Mapped[datetime]
    until: Mapped[datetime | None]  # of a silence


class DeliveryRow(Base):
    """One message to one receiver: about an alert, about a move of what is in force, or a trial."""

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("alert_id", "url", "number"),
        UniqueConstraint("promotion_id", "url"),
        Index("ix_delivery_due_at", "due_at"),
        Index("ix_delivery_created_at", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    cascade: Mapped[str | None] = mapped_column(ForeignKey("cascade.name"))  # None = the alert's
    alert_id: Mapped[UUID | None] = mapped_column(ForeignKey("alert.id"))
    promotion_id: Mapped[UUID | None] = mapped_column(ForeignKey("promotion.id"))
    receiver: Mapped[str] = mapped_column("url")  # a declared receiver's name, or the address of one of `webhooks`
    # The order in which they are sent: of this alert's messages to this receiver, from 1; of moves
    # the generation; of a trial 1.
    number: Mapped[int]
    event: Mapped[str]  # opened, rang_again, resolved; of a move its outcome; test
    payload: Mapped[str]
    attempts: Mapped[int]  # also the token of a claim
    owner: Mapped[str | None]
    created_at: Mapped[datetime]
    due_at: Mapped[datetime | None]  # None = delivered or given up
    delivered_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    last_error: Mapped[str | None]


class DeliveryTryRow(Base):
    """How one try to send a message went: rows are added, never changed."""

    __tablename__ = "delivery_try"

    delivery_id: Mapped[UUID] = mapped_column(ForeignKey("delivery.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # from 1
    at: Mapped[datetime]
    error: Mapped[str | None]  # None = received

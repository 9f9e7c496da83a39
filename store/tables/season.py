"""What the seasons of a cascade have counted, attempt by attempt."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base, JsonType


class SeasonRow(Base):
    """The counters of a season after one attempt; the next attempt goes on from them."""

    __tablename__ = "season"

    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # k of the certification
    number: Mapped[int]  # which season, from 1
    began_at: Mapped[datetime]  # decisions from here on count
    opened_at: Mapped[datetime]  # decision time of its first attempt: its quarter runs from then
    counted_until: Mapped[datetime]  # decisions from here on are not counted yet
    bundle: Mapped[str] = mapped_column(ForeignKey("bundle.id"))  # whose models score what is counted next
    document: Mapped[Any] = mapped_column(JsonType)

"""Rows of a batch that cannot be stored: named one by one, while the others are stored."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """One row that was not stored, and why."""

    index: int  # within the batch as it was given
    field: str
    value: str | None
    cure: str

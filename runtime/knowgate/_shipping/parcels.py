"""What a batch is made of: entries of the spool, read, and how they travel together."""

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np

from knowgate._models.features import Float16Array
from knowgate._records.records import Decision, Label
from knowgate._shipping.segment import Entry
from knowgate.errors import RecordInvalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """An entry that can be sent."""

    entry: Entry
    record: Decision | Label
    vectors: tuple[Float16Array, ...]  # a decision's own

    @property
    def key(self) -> UUID | Label:
        """What tells it from the others; a label has no id."""
        return self.record.id if isinstance(self.record, Decision) else self.record


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An entry that is never sent again, and why."""

    entry: Entry
    reason: str


def opened(entry: Entry) -> Parcel | Refusal:
    """The entry as it is sent, or that this version cannot read it."""
    try:
        parcel = Parcel(entry=entry, record=entry.record(), vectors=entry.vectors())
        _by_tier(parcel)
        return parcel
    except (RecordInvalid, ValueError, KeyError, IndexError) as error:
        return Refusal(entry=entry, reason=f"this version cannot read the entry: {error}")


def readable(entry: Entry) -> dict[str, object]:
    """The entry as JSON, for a person."""
    try:
        vectors = [base64.b64encode(vector.tobytes()).decode() for vector in entry.vectors()]
        return {**entry.document(), "vectors_float16_base64": vectors}
    except (RecordInvalid, ValueError, KeyError):
        return {"payload_base64": base64.b64encode(entry.payload).decode()}


def batches(parcels: Iterable[Parcel]) -> Iterator[list[Parcel]]:
    """The parcels in their order, as many in each batch as travel in one: decisions and labels go
    apart, and a tier's vectors keep one length, since a redeployed model's may differ.
    """
    batch: list[Parcel] = []
    lengths: dict[int, int] = {}  # of the batch's vectors, per tier
    for parcel in parcels:
        own = {tier: len(vector) for tier, vector in _by_tier(parcel)}
        alike = all(lengths.get(tier, length) == length for tier, length in own.items())
        if batch and not (alike and type(batch[0].record) is type(parcel.record)):
            yield batch
            batch, lengths = [], {}
        batch.append(parcel)
        lengths |= own
    if batch:
        yield batch


def packed(parcels: Sequence[Parcel]) -> tuple[list[Decision], dict[int, Float16Array]]:
    """The decisions with `Attempt.vector` counted anew within the batch, and the vectors [n, d] per
    tier.
    """
    rows: dict[int, list[Float16Array]] = {}
    decisions = []
    for parcel in parcels:
        attempts = []
        assert isinstance(parcel.record, Decision)
        for attempt in parcel.record.attempts:
            row = None
            if attempt.vector is not None:
                of_tier = rows.setdefault(attempt.tier, [])
                row = len(of_tier)
                of_tier.append(parcel.vectors[attempt.vector])
            attempts.append(replace(attempt, vector=row))
        decisions.append(replace(parcel.record, attempts=tuple(attempts)))
    return decisions, {tier: np.stack(vectors) for tier, vectors in rows.items()}


def _by_tier(parcel: Parcel) -> list[tuple[int, Float16Array]]:
    if not isinstance(parcel.record, Decision):
        return []
    return [
        (attempt.tier, parcel.vectors[attempt.vector])
        for attempt in parcel.record.attempts
        if attempt.vector is not None
    ]

"""The columns of examples from the files of days, with what the database keeps beside them: where
vectors lie, which moves, and the models that fingerprints name.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from knowgate._records.records import LabelSource
from store import dialects
from store.column_reader import as_schema, read_columns
from store.days.day_files import Part
from store.days.day_reader import labelled_rows
from store.tables import DecisionRow, FingerprintRow, VectorPlaceRow, VectorShardRow

_DECISION = dialects.table_of(DecisionRow)
_PLACE = dialects.table_of(VectorPlaceRow)
_SHARD = dialects.table_of(VectorShardRow)
_PLACED = {
    "shard": _SHARD.c.url,
    "row": _PLACE.c.row,
    "dimension": _SHARD.c.dimension,
    "vector_sha256": _PLACE.c.sha256,
}
_KEYS = ("ids", "tier")


def filed_columns(
    session: Session, part: Part, schema: pa.Schema, *, as_of: datetime, trusted: Collection[LabelSource]
) -> pa.RecordBatch:
    """The rows of a part's files as a batch of this schema, in order of decision and tier."""
    placed = [name for name in schema.names if name in _PLACED]
    named = {*schema.names} - {*placed, "revision"} | ({"fingerprint"} if "revision" in schema.names else set())
    rows = labelled_rows(part.files, sorted(named), low=part.low, high=part.high, as_of=as_of, trusted=trusted)
    if "revision" in schema.names:
        rows = rows.append_column("revision", _revisions(session, rows.column("fingerprint")))
    if placed:
        for name, values in _places(session, part, rows, placed, schema).items():
            rows = rows.append_column(name, values)
    return as_schema(rows, schema)


def patched_columns(
    session: Session, cascade: str, part: Part, filed: pa.RecordBatch, here: Iterator[pa.RecordBatch]
) -> pa.RecordBatch:
    """What the files say, and what the tables have of a decision in its place."""
    within = (_DECISION.c.cascade == cascade, _DECISION.c.id >= part.low, _DECISION.c.id < part.high)
    ids = session.scalars(select(_DECISION.c.id).where(*within))
    present = pa.array([one.bytes for one in ids], filed.schema.field("ids").type)
    kept = filed.filter(pc.invert(pc.is_in(filed.column("ids"), present)))
    rows = pa.Table.from_batches([kept, *here], schema=filed.schema).unify_dictionaries().combine_chunks()
    order = pc.sort_indices(rows.select(_KEYS), [(key, "ascending") for key in _KEYS])
    return as_schema(rows.take(order), filed.schema)


def _revisions(session: Session, fingerprints: pa.ChunkedArray) -> pa.Array:
    known = session.execute(select(FingerprintRow.sha256, FingerprintRow.document)).all()
    at = pc.index_in(fingerprints, pa.array([row.sha256 for row in known], pa.string()))
    return pa.array([row.document.get("revision") for row in known], pa.string()).take(at.combine_chunks())


def _places(
    session: Session, part: Part, rows: pa.Table, placed: Sequence[str], schema: pa.Schema
) -> dict[str, pa.ChunkedArray]:
    """Per row where its vector lies; null without one."""
    names = [*_KEYS, *placed]
    found = read_columns(session, _query(part, placed), pa.schema([schema.field(name) for name in names]), many=True)
    places = pa.Table.from_batches(found, schema=pa.schema([schema.field(name) for name in names]))
    numbered = places.select(_KEYS).append_column("place", pa.array(np.arange(places.num_rows)))
    keyed = rows.select(_KEYS).append_column("at", pa.array(np.arange(rows.num_rows)))
    joined = keyed.join(numbered, keys=list(_KEYS)).sort_by("at")
    places = places.unify_dictionaries().combine_chunks()
    return {name: places.column(name).take(joined.column("place")) for name in placed}


def _query(part: Part, placed: Sequence[str]) -> Select[Any]:
    keys = [_PLACE.c.decision_id.label("ids"), _PLACE.c.tier.label("tier")]
    query = select(*keys, *(_PLACED[name].label(name) for name in placed))
    within = (_PLACE.c.decision_id >= part.low, _PLACE.c.decision_id < part.high)
    return query.join(_SHARD, _SHARD.c.id == _PLACE.c.shard).where(*within)

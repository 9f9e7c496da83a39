"""The join: attempts with the label in force, as of a time, as columns. One statement, whatever the
size of the window, read as Arrow (`store.column_reader`).

The label in force is chosen by a window function: among labels made and received by `as_of`, the
strongest source (gold > human > judge > feedback), and within it the newest statement: the one made
last, whenever it came. A decision received after `as_of` is not there, so the same read gives the
same rows whenever it is made.

Told which sources are trusted, the join takes `correct` from those alone and puts the strongest of
the others beside it as `forecast`: a grader's verdict then stands also where a gold label does, or
it could not be corrected by it.

Days that lie in files are read from those, where they say all (`store.days.day_files`); the rows
are the same.

Who reads names the columns: what nobody named is neither joined nor read, and is left out.

Requests that no certificate covers are not among them (`store.traffic.uncertified`).
"""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import pyarrow as pa
from sqlalchemy import ColumnElement, DateTime, Select, Subquery, Text, cast, func, null, select, type_coerce
from sqlalchemy.orm import Session

from knowgate._records.records import LabelSource, Window
from store import dialects, partitions
from store.column_reader import read_columns
from store.days.day_files import parts_of
from store.days.filed_columns import filed_columns, patched_columns
from store.labelling.in_force import labels_in_force
from store.releases.cascades import declared_label_coins, declared_p_t_kinds
from store.tables import AttemptRow, DecisionRow, FingerprintRow, VectorPlaceRow, VectorShardRow
from store.tables.base import UtcDateTime
from store.traffic.example_columns import COLUMNS, Examples, example_schema, examples_of
from store.traffic.uncertified import CERTIFIABLE

# The tables rather than the models: nothing here needs the ORM, which would walk every row twice.
_DECISION = dialects.table_of(DecisionRow)
_ATTEMPT = dialects.table_of(AttemptRow)
_PLACE = dialects.table_of(VectorPlaceRow)
_SHARD = dialects.table_of(VectorShardRow)
_FINGERPRINT = dialects.table_of(FingerprintRow)

_FEW = 5000  # decisions


def labelled(
    session: Session,
    cascade: str,
    window: Window,
    *,
    as_of: datetime,
    columns: Collection[str] = COLUMNS,
    trusted: Collection[LabelSource] = tuple(LabelSource),
    at_most: int | None = None,
) -> Examples:
    """These columns of the attempts of a window of decision time, with the label in force at
    `as_of`, of the sources that are trusted.

    Unlabelled attempts are there too, with `correct` NaN: they stay in the denominator. With
    `at_most`, of a window that holds more decisions about so many: a sample by the random end of
    their ids, the same one whenever it is drawn. What is read from files of days is read whole.
    """
    schema = example_schema(columns)
    batches = _batches(session, cascade, window, schema, as_of, trusted, at_most)
    kinds = declared_p_t_kinds(session, cascade) if "p_t_kind" in columns else {}
    coins = declared_label_coins(session, cascade) if "label_coin" in columns else {}
    return examples_of(batches, columns, kinds=kinds, coins=coins)


def _batches(
    session: Session,
    cascade: str,
    window: Window,
    schema: pa.Schema,
    as_of: datetime,
    trusted: Collection[LabelSource],
    at_most: int | None,
) -> Iterator[pa.RecordBatch]:
    """The rows in their order, from the files of days where those say all, else from the tables."""
    low, high = partitions.first_id(window.start), partitions.first_id(window.end)
    for part in parts_of(session, cascade, low, high):
        here: Iterator[pa.RecordBatch] = iter(())
        if part.tables:
            ids = (part.low, part.high)
            statement = _query(schema.names, cascade, ids, as_of, trusted)
            if at_most is not None and not part.files and _holds_more(session, cascade, ids, at_most):
                statement = statement.where(_sampled(session, cascade, ids, at_most))
            here = read_columns(session, statement, schema, many=_holds_more(session, cascade, ids, _FEW))
        if part.files:
            filed = filed_columns(session, part, schema, as_of=as_of, trusted=trusted)
            here = iter([patched_columns(session, cascade, part, filed, here) if part.tables else filed])
        yield from here


def _holds_more(session: Session, cascade: str, ids: tuple[UUID, UUID], decisions: int) -> bool:
    """Whether the range holds more decisions than so many."""
    beyond = select(_DECISION.c.id).where(*_within(cascade, ids)).offset(decisions).limit(1)
    return session.scalar(beyond) is not None


def _within(cascade: str, ids: tuple[UUID, UUID]) -> tuple[ColumnElement[bool], ...]:
    return _DECISION.c.cascade == cascade, _DECISION.c.id >= ids[0], _DECISION.c.id < ids[1]


def _sampled(session: Session, cascade: str, ids: tuple[UUID, UUID], at_most: int) -> ColumnElement[bool]:
    """Whether a decision is among so many of the range: the last digits of a UUIDv7 are random."""
    share = at_most / max(session.scalar(select(func.count()).where(*_within(cascade, ids))) or 0, at_most + 1)
    digits = func.substr(cast(_DECISION.c.id, Text), 33 if dialects.is_postgresql(session) else 29)
    return digits < f"{int(share * 16**4):04x}"


def _query(
    names: Collection[str], cascade: str, ids: tuple[UUID, UUID], as_of: datetime, trusted: Collection[LabelSource]
) -> Select[Any]:
    """The statement that reads these columns, in their order."""
    low, high = ids
    others = [source for source in LabelSource if source not in trusted]
    in_force = labels_in_force(ids, as_of, trusted) if set(names) & set(_LABELLED) else None
    foreseen = labels_in_force(ids, as_of, others) if others and set(names) & set(_FORECAST) else None
    columns = [_plain(_source(name, in_force, foreseen)).label(name) for name in names]
    joined = select(*columns).select_from(_DECISION).join(_ATTEMPT, _ATTEMPT.c.decision_id == _DECISION.c.id)
    for labels in (in_force, foreseen):
        if labels is not None:
            joined = joined.outerjoin(labels, _of_attempt(labels))
    if set(names) & {"shard", "row", "dimension", "vector_sha256"}:
        place = (_PLACE.c.decision_id == _ATTEMPT.c.decision_id) & (_PLACE.c.tier == _ATTEMPT.c.tier)
        joined = joined.outerjoin(_PLACE, place & (_PLACE.c.decision_id >= low) & (_PLACE.c.decision_id < high))
        joined = joined.outerjoin(_SHARD, _SHARD.c.id == _PLACE.c.shard)
    if "revision" in names:
        joined = joined.outerjoin(_FINGERPRINT, _FINGERPRINT.c.sha256 == _ATTEMPT.c.fingerprint)
    return joined.where(
        _DECISION.c.cascade == cascade,
        _DECISION.c.id >= low,
        _DECISION.c.id < high,
        _DECISION.c.received_at <= as_of,
        CERTIFIABLE,
        # Said again of the attempt, so that its partitions are pruned too.
        _ATTEMPT.c.decision_id >= low,
        _ATTEMPT.c.decision_id < high,
    ).order_by(_DECISION.c.id, _ATTEMPT.c.tier)


def _of_attempt(labels: Subquery) -> Any:
    return (labels.c.decision_id == _ATTEMPT.c.decision_id) & (labels.c.tier == _ATTEMPT.c.tier) & (labels.c.place == 1)


def _source(name: str, in_force: Subquery | None, foreseen: Subquery | None) -> Any:
    """The column of a table, or of the labels, that an array is read from."""
    if name in _FROM:
        return _FROM[name]
    if name in _FORECAST:
        return null() if foreseen is None else foreseen.c[_FORECAST[name]]
    if name in _LABELLED and in_force is not None:
        return in_force.c[_LABELLED[name]]
    return _ATTEMPT.c[name] if name in _ATTEMPT.c else _DECISION.c[name]


def _plain(column: Any) -> Any:
    """Times as the driver reads them, all in UTC."""
    return type_coerce(column, DateTime(timezone=True)) if isinstance(column.type, UtcDateTime) else column


_FROM = {
    "ids": _DECISION.c.id,
    "retained": _ATTEMPT.c.action == "retain",
    "shard": _SHARD.c.url,
    "row": _PLACE.c.row,
    "dimension": _SHARD.c.dimension,
    "revision": _FINGERPRINT.c.document["revision"].as_string(),
    "vector_sha256": _PLACE.c.sha256,
}
_LABELLED = {
    "correct": "correct",
    "label_source": "source",
    "labelled_at": "labelled_at",
    "label_received_at": "received_at",
    "label_propensity": "label_propensity",
}
_FORECAST = {"forecast": "correct", "forecast_source": "source"}

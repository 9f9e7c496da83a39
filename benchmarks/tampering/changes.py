"""Changes that somebody makes who may write to the database, from one value to the whole ledger
made anew.

Each change is made in the transaction it is given, by SQL of its own, with foreign keys and checks
off. It says which table and column it touched, and by which exception or residue of
`store.sealing.coverage` it may go unnoticed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection, Table
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from benchmarks.tampering.values import changed, other_value
from store.ledger import raw_reading
from store.ledger.leaf_reading import raw_batches
from store.sealing import coverage, merkle, row_leaves, row_texts, states
from store.sealing.coverage import LEDGER, NOT_COVERED
from store.sealing.inserts import table_of
from store.sealing.states import as_time
from store.tables import Base, LedgerBatchRow, LedgerLeafRow

TABLES: tuple[Table, ...] = tuple(Base.metadata.sorted_tables)
_LEAF, _BATCH = table_of(LedgerLeafRow), table_of(LedgerBatchRow)
_GAPS = {(gap.table, gap.column) for gap in NOT_COVERED}
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What was done."""

    kind: str
    table: str
    column: str = ""
    not_covered: str | None = None  # a listed exception or residue; None = it has to be found


class NothingToChange(Exception):
    """The change could not be made of what is there; another is tried."""


def make(connection: Connection, kind: str, table: Table, rng: np.random.Generator) -> Change:
    """Make one change of this kind, on this table where it is about one. Raises NothingToChange."""
    try:
        return CHANGES[kind](connection, table, rng)
    except IntegrityError as error:
        raise NothingToChange from error


def update(connection: Connection, table: Table, rng: np.random.Generator) -> Change:
    """One value of one row."""
    rows = _rows(connection, table)
    row, column = _pick(rows, rng), _pick(list(table.c), rng)
    value = other_value(column, row[column.name], [other[column.name] for other in rows], rng)
    if value == row[column.name]:
        raise NothingToChange
    _write(connection, table, row, {column.name: value})
    return Change(kind="update", table=table.name, column=column.name, not_covered=_gap(table, row, [column.name]))


def delete(connection: Connection, table: Table, rng: np.random.Generator) -> Change:
    """One row."""
    row = _pick(_rows(connection, table), rng)
    _remove(connection, table, row)
    return Change(kind="delete", table=table.name, not_covered=_gap(table, row, ["*"]))


def insert(connection: Connection, table: Table, rng: np.random.Generator) -> Change:
    """A plausible copy of a row, under another key."""
    row = dict(_pick(_rows(connection, table), rng))
    for column in table.c:
        unique = column.name in _unique(table)
        if column.primary_key or (unique and not column.foreign_keys):
            row[column.name] = changed(column, row[column.name], rng)
    _add(connection, table, row)
    return Change(kind="insert", table=table.name, not_covered=_gap(table, row, ["*"]))


def swap(connection: Connection, table: Table, rng: np.random.Generator) -> Change:
    """One value, between two rows."""
    rows = _rows(connection, table)
    one, two, column = _pick(rows, rng), _pick(rows, rng), _pick(list(table.c), rng)
    name = column.name
    if one[name] == two[name] or column.primary_key:
        raise NothingToChange
    _write(connection, table, one, {name: two[name]})
    _write(connection, table, two, {name: one[name]})
    gaps = {_gap(table, one, [name]), _gap(table, two, [name])}
    return Change(kind="swap", table=table.name, column=name, not_covered=None if None in gaps else gaps.pop())


def cut_leaves(connection: Connection, _: Table, rng: np.random.Generator) -> Change:
    """The last leaves, with the rows they speak of or without."""
    sealed = _rows(connection, _LEAF, "batch IS NOT NULL ORDER BY batch DESC, id DESC LIMIT 20")
    for leaf in sealed[: int(rng.integers(1, 10))]:
        _cut(connection, leaf, with_row=bool(rng.integers(2)))
    return Change(kind="cut_leaves", table=_LEAF.name)


def cut_batches(connection: Connection, _: Table, rng: np.random.Generator) -> Change:
    """The last batches, with their leaves and with the rows that these speak of."""
    batches = _rows(connection, _BATCH, "1 ORDER BY number DESC")
    for batch in batches[: int(rng.integers(1, len(batches) + 1))]:
        for leaf in _rows(connection, _LEAF, f"batch = {batch['number']}"):
            _cut(connection, leaf, with_row=True)
        _remove(connection, _BATCH, batch)
    return Change(kind="cut_batches", table=_BATCH.name)


def recompute(connection: Connection, table: Table, rng: np.random.Generator) -> Change:
    """A row altered with its newest leaf, and every root and link from there on made anew: no trace
    inside.
    """
    cover = coverage.of_table(table)
    columns = [] if cover is None else [table.c[name] for name in cover.columns if name not in cover.keys]
    if cover is None or not columns:
        raise NothingToChange
    row, column = _pick(_rows(connection, table), rng), _pick(columns, rng)
    value = changed(column, row[column.name], rng)
    if cover.skips(row | {column.name: value}) or cover.skips(row):
        raise NothingToChange
    _write(connection, table, row, {column.name: value})
    leaf = _restate(connection, cover, row)
    if leaf["batch"] is not None:
        _reseal(connection)
    residue = "unsealed" if leaf["batch"] is None else None
    return Change(kind="recompute", table=table.name, column=column.name, not_covered=residue)


def cut_open(connection: Connection, _: Table, rng: np.random.Generator) -> Change:
    """A leaf that is not sealed yet, with the row it speaks of or without."""
    leaf = _pick(_rows(connection, _LEAF, "batch IS NULL"), rng)
    with_row = bool(rng.integers(2))
    _cut(connection, leaf, with_row=with_row)
    return Change(kind="cut_open", table=_LEAF.name, not_covered="unsealed" if with_row else None)


def empty_leaf(connection: Connection, _: Table, rng: np.random.Generator) -> Change:
    """Salt and payload taken as an erasure takes them, or a row's salt, with no erasure."""
    leaf = _pick(_rows(connection, _LEAF, "payload IS NOT NULL"), rng)
    if leaf["version"] == row_leaves.VERSION and rng.integers(2):
        rows = int(rng.integers(row_leaves.read_payload(leaf["payload"]).rows))
        emptied = row_leaves.without_salt(leaf["rows"], rows)
        if emptied == leaf["rows"]:
            raise NothingToChange
        _write(connection, _LEAF, leaf, {"rows": emptied})
        return Change(kind="empty_leaf", table=_LEAF.name, column="rows")
    content = merkle.content_hash(bytes.fromhex(leaf["salt"]), leaf["payload"].encode()).hex()
    _write(connection, _LEAF, leaf, {"salt": None, "payload": None, "content": content})
    return Change(kind="empty_leaf", table=_LEAF.name)


def relabel_leaf(connection: Connection, _: Table, rng: np.random.Generator) -> Change:
    """A leaf of another kind, cascade or subject, or called one of the former version."""
    leaf = _pick(_rows(connection, _LEAF), rng)
    values: Row = _pick(
        [{"kind": "note"}, {"kind": "token"}, {"subject": leaf["subject"] + "0"}, {"cascade": "other"}, {"version": 1}],
        rng,
    )
    if all(leaf[name] == value for name, value in values.items()):
        raise NothingToChange
    _write(connection, _LEAF, leaf, values)
    return Change(kind="relabel_leaf", table=_LEAF.name, column=next(iter(values)))


CHANGES: dict[str, Callable[[Connection, Table, np.random.Generator], Change]] = {
    "update": update,
    "delete": delete,
    "insert": insert,
    "swap": swap,
    "cut_leaves": cut_leaves,
    "cut_batches": cut_batches,
    "recompute": recompute,
    "cut_open": cut_open,
    "empty_leaf": empty_leaf,
    "relabel_leaf": relabel_leaf,
}
ON_A_TABLE = ("update", "delete", "insert", "swap", "recompute")


def _gap(table: Table, row: Row, names: Sequence[str]) -> str | None:
    """The exception that lets a change of these columns of a row by; None where there is none."""
    cover = coverage.of_table(table)
    skipped = cover is not None and cover.skips(row)
    if skipped or (cover is None and coverage.of_part(table) is None and table.name not in LEDGER):
        return f"{table.name}.*"
    listed = [f"{table.name}.{name}" for name in names if (table.name, name) in _GAPS and name != "*"]
    return listed[0] if len(listed) == len(names) else None


def _restate(connection: Connection, cover: coverage.Cover, row: Row) -> Row:
    """Write into a row's newest leaf what the row says now, with a hash over it."""
    with Session(connection) as session, raw_reading.any_value(session):
        subject = cover.subject(states.document_of(cover, row, (), raw=True))
        (state,) = states.read_states(session, cover, [cover.key(subject)])
    leaves = _rows(connection, _LEAF, f"kind = '{cover.kind}' ORDER BY revision DESC")
    leaf = next((item for item in leaves if item["subject"] == subject), None)
    if leaf is None:
        return _restate_among_rows(connection, cover, subject, leaves)
    _write_payload(connection, leaf, states.payload_of(state.document), {})
    return leaf


def _restate_among_rows(connection: Connection, cover: coverage.Cover, subject: str, leaves: Sequence[Row]) -> Row:
    """The same in the leaf of its batch, whose root is made anew."""
    for leaf in (leaf for leaf in leaves if leaf["version"] == row_leaves.VERSION):
        said = row_leaves.read_payload(leaf["payload"])
        sealed = list(row_leaves.unpacked(leaf["rows"], said.rows))
        at = next((at for at, one in enumerate(sealed) if one.subject == subject), None)
        if at is None:
            continue
        salt = sealed[at].salt
        with Session(connection) as session, raw_reading.any_value(session):
            text = row_texts.read_texts(session, cover, [cover.key(subject)], said.columns, said.parts)[subject]
        if salt is None or text is None:
            raise NothingToChange
        sealed[at] = replace(sealed[at], content=merkle.content_hash(salt, text))
        root = merkle.root([one.hash for one in sealed]).hex()
        payload = leaf["payload"].replace(said.root, root)
        _write_payload(connection, leaf, payload, {"rows": row_leaves.packed(sealed)})
        return leaf
    raise NothingToChange


def _write_payload(connection: Connection, leaf: Row, payload: str, values: Row) -> None:
    content = merkle.content_hash(bytes.fromhex(leaf["salt"]), payload.encode())
    about = merkle.header(UUID(leaf["id"]), leaf["kind"], leaf["cascade"], leaf["subject"], leaf["revision"])
    hashed = merkle.leaf_hash(about, content).hex()
    _write(connection, _LEAF, leaf, {"payload": payload, "hash": hashed} | values)


def _reseal(connection: Connection) -> None:
    """Make every root and every link of the chain anew."""
    previous = merkle.GENESIS
    with Session(connection) as session:
        batches = raw_batches(session)
    for batch in batches:
        hashes = [leaf["hash"] for leaf in _rows(connection, _LEAF, f"batch = {batch.number}")]
        root = merkle.root([bytes.fromhex(item) for item in sorted(hashes)]).hex()
        chained = merkle.chain_hash(batch.number, previous, root, batch.leaves, as_time(batch.sealed_at)).hex()
        _write(connection, _BATCH, {"number": batch.number}, {"previous": previous, "root": root, "hash": chained})
        previous = chained


def _cut(connection: Connection, leaf: Row, *, with_row: bool) -> None:
    _remove(connection, _LEAF, leaf)
    cover = coverage.of_kind(leaf["kind"])
    if cover is None or not with_row:
        return
    for subject in _subjects(leaf):
        key = dict(zip(cover.keys, cover.key(subject), strict=True))
        where = sa.and_(*(cover.table.c[name] == value for name, value in key.items()))
        if cover.part is not None:
            parent = cover.part.table.c[cover.part.parent]
            connection.execute(cover.part.table.delete().where(parent == key[cover.keys[0]]))
        connection.execute(cover.table.delete().where(where))


def _subjects(leaf: Row) -> list[str]:
    if leaf["version"] != row_leaves.VERSION:
        return [leaf["subject"]]
    rows = row_leaves.unpacked(leaf["rows"], row_leaves.read_payload(leaf["payload"]).rows)
    return [row.subject for row in rows]


def _rows(connection: Connection, table: Table, where: str = "1") -> list[Row]:
    rows = connection.exec_driver_sql(f'SELECT * FROM "{table.name}" WHERE {where}').mappings()
    return [dict(row) for row in rows]


def _pick(items: Sequence[Any], rng: np.random.Generator) -> Any:
    if not items:
        raise NothingToChange
    return items[int(rng.integers(len(items)))]


def _write(connection: Connection, table: Table, row: Row, values: Row) -> None:
    keys = [item.name for item in table.primary_key]
    sets = ", ".join(f'"{name}" = ?' for name in values)
    named = " AND ".join(f'"{name}" = ?' for name in keys)
    parameters = (*values.values(), *(row[name] for name in keys))
    connection.exec_driver_sql(f'UPDATE "{table.name}" SET {sets} WHERE {named}', parameters)


def _remove(connection: Connection, table: Table, row: Row) -> None:
    keys = [item.name for item in table.primary_key]
    named = " AND ".join(f'"{name}" = ?' for name in keys)
    connection.exec_driver_sql(f'DELETE FROM "{table.name}" WHERE {named}', tuple(row[name] for name in keys))


def _add(connection: Connection, table: Table, row: Row) -> None:
    names = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join("?" for _ in row)
    connection.exec_driver_sql(f'INSERT INTO "{table.name}" ({names}) VALUES ({marks})', tuple(row.values()))


def _unique(table: Table) -> set[str]:
    named = [item for item in table.constraints if isinstance(item, sa.UniqueConstraint)]
    return {column.name for constraint in named for column in constraint.columns}

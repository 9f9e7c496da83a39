"""What a row says as one text, where a leaf speaks of many rows: the JSON list of its columns, its
parts as a list of such lists behind them.

The values are those of a leaf of one row (`store.sealing.states`), so the text is the same whether
it is made of what is about to be written or of what either database gives back.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.sealing import states
from store.sealing.coverage import Cover, filled
from store.sealing.inserts import is_postgresql
from store.sealing.states import Row, same

_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
Write = Callable[[Row, Sequence[Row]], bytes]


def writer(cover: Cover, columns: Sequence[str], parts: Sequence[str], *, raw: bool = False) -> Write:
    """What makes a row's text of these columns, and of these of its parts.

    `raw`: rows are as SQLite's driver gives them. Raises KeyError for a column that is not there.
    """
    values_of = _values(states.encoders(cover.table, tuple(columns), raw))
    part = cover.part
    if part is None:
        return lambda row, own: _json(values_of(row)).encode()
    values_of_part = _values(states.encoders(part.table, tuple(parts), raw))
    keys = [parts.index(item.name) for item in part.table.primary_key if item.name != part.parent]

    def write(row: Row, own: Sequence[Row]) -> bytes:
        said = sorted((values_of_part(one) for one in own), key=lambda said: [str(said[at]) for at in keys])
        return _json([*values_of(row), said]).encode()

    return write


def _values(encoders: Sequence[tuple[str, states.Encoder]]) -> Callable[[Row], list[Any]]:
    names, ways = tuple(name for name, _ in encoders), tuple(encode for _, encode in encoders)
    of = itemgetter(*names)

    def values(row: Row) -> list[Any]:
        try:
            return [None if value is None else encode(value) for encode, value in zip(ways, of(row), strict=True)]
        except states.NOT_OF_ITS_TYPE:
            said = states.encoded(encoders, row)
            return [said.get(name) for name in names]

    return values


def read_texts(
    session: Session, cover: Cover, keys: Sequence[tuple[Any, ...]], columns: Sequence[str], parts: Sequence[str]
) -> dict[str, bytes | None]:
    """The texts of the rows of these primary keys that are there, by their subjects; None where a
    column that came later says something that it cannot have said before.
    """
    raw = not is_postgresql(session)
    write = writer(cover, columns, parts, raw=raw)
    rows, own = states.read_rows(session, cover, keys)
    added = _Added(cover, columns, parts, raw=raw)
    key_encoders = states.encoders(cover.table, cover.keys, raw)
    texts: dict[str, bytes | None] = {}
    for row in rows:
        its = own.get(row[cover.keys[0]], ())
        subject = cover.subject(states.encoded(key_encoders, row))
        texts[subject] = write(row, its) if added.untouched(row, its) else None
    return texts


class _Added:
    """The columns that a leaf says nothing of, since they were added later."""

    def __init__(self, cover: Cover, columns: Sequence[str], parts: Sequence[str], *, raw: bool) -> None:
        later = tuple(name for name in cover.columns if name not in columns)
        self._own = [(states.encoders(cover.table, later, raw), cover.table)] if later else []
        self._parts: list[Any] = []
        if cover.part is not None:
            later = tuple(name for name in cover.part.columns if name not in parts)
            self._parts = [(states.encoders(cover.part.table, later, raw), cover.part.table)] if later else []

    def untouched(self, row: Row, own: Sequence[Row]) -> bool:
        return all(self._filled(row, *one) for one in self._own) and all(
            self._filled(part, *one) for part in own for one in self._parts
        )

    def _filled(self, row: Row, encoders: Any, table: Any) -> bool:
        said = states.encoded(encoders, row)
        return all(said.get(name) is None or same(said[name], filled(table, name)) for name, _ in encoders)


def subjects(session: Session, cover: Cover, size: int) -> Iterator[list[str]]:
    """What all rows of a table are named by, a page at a time."""
    encoders = states.encoders(cover.table, cover.keys, not is_postgresql(session))
    query = select(*(states.raw_column(cover.table.c[name]) for name in cover.keys))
    for page in session.execute(query, execution_options={"yield_per": size}).mappings().partitions():
        yield [cover.subject(states.encoded(encoders, row)) for row in page]
    left = session.info.get(states.LEFT)
    if left is not None and cover.kind in states.LEAVING:
        yield from left.subjects(cover)

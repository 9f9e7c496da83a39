"""What a row says as one text, where a leaf speaks of many rows: the JSON list of its columns, its
parts as a list of such lists behind them.

The values are those of a leaf of one row (`store.sealing.states`), so the text is the same whether
it is made of what is about to be written or of what either database gives back.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from operator import itemgetter
from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from store.sealing import states
from store.sealing.coverage import Cover, filled
from store.sealing.inserts import is_postgresql
from store.sealing.states import Row, same

_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
Parts = Mapping[Any, Sequence[Row]]  # by the first key of the row that they are a part of
Write = Callable[[Sequence[Row], Parts], list[bytes]]


def writer(cover: Cover, columns: Sequence[str], parts: Sequence[str], *, raw: bool = False) -> Write:
    """What makes the texts of rows, of these of their columns and of their parts. It keeps what
    values became, so it is for one page of rows.

    `raw`: rows are as SQLite's driver gives them. Raises KeyError for a column that is not there.
    """
    of_rows = _columns(cover.table, columns, raw)
    part = cover.part
    if part is None:
        return lambda rows, _: [text.encode() for text in _lists(of_rows(rows))]
    of_parts = _columns(part.table, parts, raw)
    keys = [parts.index(item.name) for item in part.table.primary_key if item.name != part.parent]

    def write(rows: Sequence[Row], own: Parts) -> list[bytes]:
        groups = [own.get(row[cover.keys[0]], ()) for row in rows]
        said = of_parts([one for group in groups for one in group])
        ordered = zip(_lists([said[at] for at in keys]), _lists(said), strict=True)
        lists = (",".join(text for _, text in sorted(islice(ordered, len(group)))) for group in groups)
        return [text.encode() for text in _lists([*of_rows(rows), (f"[{one}]" for one in lists)])]

    return write


def _lists(columns: Iterable[Iterable[str]]) -> list[str]:
    """Each row as a JSON list, of the JSON of its values by column."""
    return [f"[{line}]" for line in map(",".join, zip(*columns, strict=True))]


def _columns(table: Table, names: Sequence[str], raw: bool) -> Callable[[Sequence[Row]], list[list[str]]]:
    """What makes the JSON of the values of these columns, one column after the other."""
    ways = [(itemgetter(name), _texts(encode)) for name, encode in states.encoders(table, tuple(names), raw)]
    return lambda rows: [texts(map(of, rows)) for of, texts in ways]


def _texts(encode: states.Encoder) -> Callable[[Iterable[Any]], list[str]]:
    """What makes the JSON of a column's values: what they became is kept, but of numbers, which
    hardly repeat, and of documents to be written, which cannot be looked up.
    """

    def text(value: Any) -> str:
        return "null" if value is None else _json(states.read_by(encode, value))

    def numbers(values: Iterable[Any]) -> list[str]:
        return [repr(one) if one.__class__ is float and 0.0 < abs(one) < math.inf else text(one) for one in values]

    if encode is states.number:
        return numbers
    kept = text if encode is states.as_json else cache(text)
    return lambda values: list(map(kept, values))


def read_texts(
    session: Session, cover: Cover, keys: Sequence[tuple[Any, ...]], columns: Sequence[str], parts: Sequence[str]
) -> dict[str, bytes | None]:
    """The texts of the rows of these primary keys that are there, by their subjects; None where a
    column that came later says something that it cannot have said before.
    """
    raw = not is_postgresql(session)
    write = writer(cover, columns, parts, raw=raw)
    rows, own = states.read_rows(session, cover, keys)
    texts: dict[str, bytes | None] = dict(zip(states.subjects(cover, rows, raw), write(rows, own), strict=True))
    added = _Added(cover, columns, parts, raw=raw)
    if added.any:
        for subject, row in zip(list(texts), rows, strict=True):
            if not added.untouched(row, own.get(row[cover.keys[0]], ())):
                texts[subject] = None
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

    @property
    def any(self) -> bool:
        return bool(self._own or self._parts)

    def untouched(self, row: Row, own: Sequence[Row]) -> bool:
        return all(self._filled(row, *one) for one in self._own) and all(
            self._filled(part, *one) for part in own for one in self._parts
        )

    def _filled(self, row: Row, encoders: Any, table: Any) -> bool:
        said = states.encoded(encoders, row)
        return all(said.get(name) is None or same(said[name], filled(table, name)) for name, _ in encoders)


def subjects(session: Session, cover: Cover, size: int) -> Iterator[list[str]]:
    """What all rows of a table are named by, a page at a time."""
    query = select(*(states.raw_column(cover.table.c[name]) for name in cover.keys))
    for page in session.execute(query, execution_options={"yield_per": size}).mappings().partitions():
        yield states.subjects(cover, page, not is_postgresql(session))
    left = session.info.get(states.LEFT)
    if left is not None and cover.kind in states.LEAVING:
        yield from left.subjects(cover)

"""One column of a user's file as a checked numpy array.

Null is how a file says "unknown". A NaN is not: it is the trace of a division or a join that went
wrong upstream, so it is refused, as is a number outside its range or a time without its offset.
Every refusal names the column, the first bad row (counted from 1), its line where the file has
lines, its value and the cure.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.errors import InputInvalid, TableInvalid
from services.outcome_tables.times import TimeArray, TimeRefused, Zone, in_utc
from store.files import TableFile
from store.files.wanted import cell_fault, shown_names

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ObjectArray = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """A file's columns by field: by the name of the field, or by another that a mapping gives."""

    source: TableFile
    mapping: Mapping[str, str | None] = field(default_factory=dict)  # None = the field is left out

    def __post_init__(self) -> None:
        """Raises TableInvalid for a mapped column that the file has not."""
        absent = next((name for name in self.mapping.values() if name is not None and name not in self.names), None)
        if absent is not None:
            raise self.absent(absent, "correct --map")

    def called(self, field: str) -> str:
        """The name of a field's column; '' where it is left out."""
        return self.mapping.get(field, field) or ""

    @property
    def file(self) -> str:
        """The file's name, for messages."""
        return self.source.file

    @property
    def rows(self) -> int:
        return self.source.rows

    @property
    def names(self) -> tuple[str, ...]:
        """Of all the file's columns, also of those that nobody reads."""
        return self.source.names

    def has(self, name: str) -> bool:
        """Whether the column is there and holds anything at all."""
        table, column = self.source.table, self.called(name)
        return column in table.column_names and table.column(column).null_count < self.rows

    def texts(self, name: str, *, required: bool = False) -> ObjectArray:
        """The column as str or None [n]; an absent column is all None."""
        if not self.has(name):
            if required:
                self._require(name)
            return np.full(self.rows, None, dtype=object)
        column = self._column(name)
        if required:
            self._refuse_nulls(name, column)
        return _objects(column)

    def ids(self, name: str) -> ObjectArray:
        """A column of ids as str or None [n]; an empty text names nothing, in CSV as in the other
        formats.
        """
        texts = self.texts(name)
        texts[texts == ""] = None
        return texts

    def codes(self, name: str) -> tuple[IntArray, ObjectArray]:
        """A required column of ids as (code [n], distinct ids in order of first appearance)."""
        self._require(name)
        column = self._column(name)
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
        self._refuse_nulls(name, column)
        encoded = column.combine_chunks().dictionary_encode()
        encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
        return encoded.indices.to_numpy().astype(np.int64), _objects(encoded.dictionary)

    def numbers(
        self,
        name: str,
        *,
        low: float = 0.0,
        high: float = np.inf,
        whole: bool = False,
    ) -> FloatArray:
        """The column as float64 [n], NaN where null; an absent column is all NaN."""
        if not self.has(name):
            return np.full(self.rows, np.nan)
        column = self._column(name)
        known = pc.is_valid(column).to_numpy(zero_copy_only=False).astype(bool)
        values = column.fill_null(0.0).to_numpy().astype(np.float64)
        self._refuse(name, known & np.isnan(values), values, "write null, or leave it empty, where it is unknown")
        outside = ~(values >= low) | ~(values <= high) | ~np.isfinite(values)
        ends = f"at least {low:g}" + (f" and at most {high:.16g}" if high < np.inf else "")
        cure = f"a finite number {ends} is expected; correct it or write null"
        self._refuse(name, known & outside, values, cure, whole=whole)
        if whole:
            self._refuse(name, known & (values != np.floor(values)), values, "a whole number is expected")
        return np.where(known, values, np.nan)

    def times(self, name: str, zone: Zone) -> TimeArray:
        """The column as datetime64[us] [n] in UTC, NaT where null; an absent column is all NaT."""
        if not self.has(name):
            return np.full(self.rows, np.datetime64("NaT"), dtype="datetime64[us]")
        try:
            return in_utc(self._column(name), zone)
        except TimeRefused as fault:
            raise self.fault(name, fault.row, fault.value, fault.cure) from None

    def fault(self, name: str, row: int, value: object, cure: str) -> TableInvalid:
        """What is wrong with one cell, or that its column is not there; `row` counts from 0 here,
        from 1 when shown.
        """
        if self.called(name) not in self.names:
            return self.missing(name, cure)
        return TableInvalid(cell_fault(self.file, self.called(name), row, self.source.line(row), value, cure))

    def place(self, row: int) -> str:
        """`row 3 (line 4)`, as messages name a row."""
        line = self.source.line(row)
        return f"row {row + 1}" + ("" if line is None else f" (line {line})")

    def missing(self, name: str, cure: str) -> TableInvalid:
        """What is said of a field whose column is not there."""
        return self.absent(self.called(name) or name, cure)

    def absent(self, column: str, cure: str) -> TableInvalid:
        """What is said of a column that is not there."""
        return TableInvalid(f"{self.file} has no column {column}; it has {shown_names(self.names)}: {cure}")

    def _column(self, name: str) -> Any:
        return self.source.table.column(self.called(name))

    def _require(self, name: str) -> None:
        if self.called(name) not in self.names:
            raise self.missing(name, f"add or rename it, or say with --map {name}=COLUMN which one it is")
        if not self.has(name):
            raise TableInvalid(f"{self.file}: column {self.called(name)} is empty in every row; fill it")

    def _refuse_nulls(self, name: str, column: Any) -> None:
        if column.null_count:
            row = int(pc.index(pc.is_null(column), True).as_py())
            raise self.fault(name, row, None, "a value is required in every row")

    def _refuse(
        self, name: str, bad: npt.NDArray[np.bool_], values: FloatArray, cure: str, *, whole: bool = False
    ) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            value = float(values[row])
            raise self.fault(name, row, int(value) if whole and value.is_integer() else value, cure)


def parse_mapping(text: str | None, fields: Collection[str], may_be_left_out: Collection[str]) -> dict[str, str | None]:
    """`correct=is_right,source=` as a mapping from field to column, None for a field without one.

    Raises InputInvalid.
    """
    mapping: dict[str, str | None] = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        field, equals, column = (piece.strip() for piece in part.partition("="))
        if field not in fields or not equals or (not column and field not in may_be_left_out):
            raise InputInvalid(
                f"--map {part.strip()!r}: write field=column, the field one of {', '.join(fields)}; field= leaves out"
                f" the column of that name ({', '.join(may_be_left_out)})"
            )
        if field in mapping:
            raise InputInvalid(f"--map names {field} twice; give it once")
        mapping[field] = column or None
    return mapping


def _objects(column: Any) -> ObjectArray:
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(flat.to_numpy(zero_copy_only=False), dtype=object)

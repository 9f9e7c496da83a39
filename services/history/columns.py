"""One column of a table as a checked numpy array.

Null is how a table says "unknown". A NaN is not: it is the trace of a division or a join that went wrong upstream,
so it is refused, as is a number outside its range or a time without its offset. Every refusal names the column,
the first bad row (counted from 1), its value and the cure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.errors import InputInvalid, TableInvalid

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ObjectArray = npt.NDArray[np.object_]
TimeArray = npt.NDArray[np.datetime64]

UTC_MICROS = pa.timestamp("us", "UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """A table's columns by name, with the file's name for messages."""

    table: pa.Table
    file: str

    @property
    def rows(self) -> int:
        return int(self.table.num_rows)

    def has(self, name: str) -> bool:
        """Whether the column is there and holds anything at all."""
        return name in self.table.column_names and self.table.column(name).null_count < self.rows

    def texts(self, name: str, *, required: bool = False) -> ObjectArray:
        """The column as str or None [n]; an absent column is all None."""
        if not self.has(name):
            if required:
                self._require(name)
            return np.full(self.rows, None, dtype=object)
        column = self._cast(name, pa.string(), "text")
        if required and column.null_count:
            raise self.fault(name, _first(pc.is_null(column)), None, "a value is required in every row")
        return _objects(column)

    def codes(self, name: str) -> tuple[IntArray, ObjectArray]:
        """A required text column as (code [n], distinct texts in order of first appearance)."""
        self._require(name)
        column = self._cast(name, pa.string(), "text")
        if column.null_count:
            raise self.fault(name, _first(pc.is_null(column)), None, "a value is required in every row")
        encoded = column.combine_chunks().dictionary_encode()
        encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
        return encoded.indices.to_numpy().astype(np.int64), _objects(encoded.dictionary)

    def numbers(
        self,
        name: str,
        *,
        low: float = 0.0,
        high: float = np.inf,
        above_low: bool = False,
        whole: bool = False,
    ) -> FloatArray:
        """The column as float64 [n], NaN where null; an absent column is all NaN."""
        if not self.has(name):
            return np.full(self.rows, np.nan)
        column = self._cast(name, pa.float64(), "a number")
        known = pc.is_valid(column).to_numpy(zero_copy_only=False).astype(bool)
        values = column.fill_null(0.0).to_numpy().astype(np.float64)
        self._refuse(name, known & np.isnan(values), values, "write null, or leave it empty, where it is unknown")
        outside = ~((values > low) if above_low else (values >= low)) | ~(values <= high) | ~np.isfinite(values)
        ends = f"{'above' if above_low else 'at least'} {low:g}" + (f" and at most {high:g}" if high < np.inf else "")
        self._refuse(name, known & outside, values, f"a finite number {ends} is expected; correct it or write null")
        if whole:
            self._refuse(name, known & (values != np.floor(values)), values, "a whole number is expected")
        return np.where(known, values, np.nan)

    def times(self, name: str, *, timezone: str | None = None) -> TimeArray:
        """The column as datetime64[us] [n] in UTC, NaT where null; an absent column is all NaT.

        Times without an offset are refused unless `timezone` (an IANA name) says where they were written.
        """
        if not self.has(name):
            return np.full(self.rows, np.datetime64("NaT"), dtype="datetime64[us]")
        column = self.table.column(name)
        if not pa.types.is_timestamp(column.type):
            column = self._parse_times(name, column)
        if column.type.tz is None:
            if timezone is None:
                row = _first(pc.is_valid(column))
                raise self.fault(name, row, column[row].as_py(), "the time is naive; add its offset or say --timezone")
            column = self._in_zone(name, column, timezone)
        utc = self._attempt(name, lambda: column.cast(UTC_MICROS, safe=False))
        return utc.cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]")  # type: ignore[no-any-return]

    def fault(self, name: str, row: int, value: object, cure: str) -> TableInvalid:
        """What is wrong with one cell, or that its column is not there; `row` counts from 0 here, from 1 when told."""
        if name not in self.table.column_names:
            return self.missing(name, cure)
        told = "empty" if value is None else repr(value)
        return TableInvalid(f"{self.file}: column {name}, row {row + 1} is {told}: {cure}")

    def missing(self, name: str, cure: str) -> TableInvalid:
        """What is said of a column that is not there."""
        return TableInvalid(f"{self.file} has no column {name}; it has {', '.join(self.table.column_names)}: {cure}")

    def _require(self, name: str) -> None:
        if name not in self.table.column_names:
            raise self.missing(name, "add or rename it")
        if not self.has(name):
            raise TableInvalid(f"{self.file}: column {name} is empty in every row; fill it")

    def _refuse(self, name: str, bad: npt.NDArray[np.bool_], values: FloatArray, cure: str) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            raise self.fault(name, row, float(values[row]), cure)

    def _cast(self, name: str, kind: pa.DataType, expected: str) -> Any:
        column = self.table.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if column.type == kind:
            return column
        return self._attempt(name, lambda: column.cast(kind), one=lambda cell: cell.cast(kind), expected=expected)

    def _parse_times(self, name: str, column: Any) -> Any:
        texts = self._cast(name, pa.string(), "a time")
        try:
            return texts.cast(UTC_MICROS)
        except pa.ArrowInvalid:
            naive = pa.timestamp("us")
            return self._attempt(
                name,
                lambda: texts.cast(naive),
                one=lambda cell: _either(cell, naive),
                expected="an ISO 8601 time, all with an offset or all without, e.g. 2026-01-31T12:00:00Z",
            )

    def _in_zone(self, name: str, column: Any, timezone: str) -> Any:
        try:
            return pc.assume_timezone(column, timezone)
        except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
            raise TableInvalid(
                f"{self.file}: column {name} cannot be read as times of {timezone}: {error}; "
                "name an IANA zone, e.g. Europe/Paris, and write offsets where the clock was set back"
            ) from error

    def _attempt(
        self,
        name: str,
        convert: Callable[[], Any],
        *,
        one: Callable[[Any], Any] | None = None,
        expected: str = "a value of its kind",
    ) -> Any:
        """`convert()`; where it fails, the cell that `one` fails on is named."""
        try:
            return convert()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            for row, cell in enumerate(self.table.column(name)):
                try:
                    if one is not None:
                        one(cell)
                except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                    raise self.fault(name, row, cell.as_py(), f"{expected} is expected") from error
            raise TableInvalid(f"{self.file}: column {name}: {error}; {expected} is expected") from error


def require_zone(timezone: str | None) -> None:
    """Raises InputInvalid for a zone that is none, also where no time needs one: it may need one tomorrow."""
    if timezone is None:
        return
    try:
        pc.assume_timezone(pa.scalar(0, pa.timestamp("us")), timezone)
    except (pa.ArrowInvalid, pa.ArrowKeyError):
        raise InputInvalid(f"--timezone is {timezone!r}: name an IANA zone, e.g. Europe/Paris") from None


def _either(cell: Any, naive: pa.DataType) -> None:
    """Fails on the first time that is malformed, or that carries an offset where others carry none."""
    cell.cast(naive)


def _first(flags: Any) -> int:
    return int(pc.index(flags, True).as_py())


def _objects(column: Any) -> ObjectArray:
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(flat.to_numpy(zero_copy_only=False), dtype=object)

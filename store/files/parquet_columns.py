"""Columns of a Parquet file by the kind that the file declares; a kind that is not the wanted one
is refused.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from store.errors import FileRefused
from store.files.cells import A_NUMBER, A_TIME, A_TRUTH, without_nul
from store.files.wanted import CellRefused, Wanted, at_cell

TEXT_KINDS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
TIME_KINDS = (*TEXT_KINDS, pa.types.is_timestamp, pa.types.is_date)
NUMBER_KINDS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)


def read_parquet(path: Path, wanted: Wanted) -> tuple[pa.Table, tuple[str, ...], int]:
    """The wanted columns that are there, the names of all, and the number of rows.

    Raises FileRefused, and what Arrow raises.
    """
    file: Any  # a folder of files, as Spark writes one, is read by the same method
    try:
        if path.is_dir():
            file = pyarrow.parquet.ParquetDataset(path, partitioning=None)
            names = tuple(file.schema.names)
        else:
            file = pyarrow.parquet.ParquetFile(path)
            names = tuple(file.schema_arrow.names)
    except UnicodeDecodeError as error:
        raw = f"{error.object[:40]!r}"
        raise FileRefused(f"{path}: the name of a column is {raw}, which is not UTF-8; rename it") from None
    if len(set(names)) != len(names):
        return pa.table({}), names, 0  # the caller says which; Arrow could not read one of the two
    kept = [name for name in wanted.names if name in names]
    table = file.read(columns=kept)
    columns = {}
    for name in kept:
        try:
            columns[name] = _column(path, name, table.column(name), wanted)
        except CellRefused as fault:
            raise at_cell(path.name, name, fault.index, None, fault.value, fault.cure) from None
    return pa.table(columns), names, table.num_rows


def _column(path: Path, name: str, column: Any, wanted: Wanted) -> Any:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_null(kind):
        return column.cast(pa.string() if name in (*wanted.texts, *wanted.times) else pa.float64())
    if name in wanted.texts:
        return _texts(path, name, column)
    if name in wanted.times:
        return _times(path, name, column)
    return _numbers(path, name, column, truths=name in wanted.truths)


def _texts(path: Path, name: str, column: Any) -> Any:
    kind = column.type
    if pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0):
        return column.cast(pa.string())  # a whole number has one spelling
    if not any(is_text(kind) for is_text in TEXT_KINDS):
        raise FileRefused(f"{path}: column {name} holds {kind}, which has more than one spelling: write it as text")
    return without_nul(_valid(path, name, column).cast(pa.string()))


def _times(path: Path, name: str, column: Any) -> Any:
    kind = column.type
    if not any(is_time(kind) for is_time in TIME_KINDS):
        raise FileRefused(f"{path}: column {name} holds {kind}: {A_TIME}")
    return _valid(path, name, column).cast(pa.string()) if any(is_text(kind) for is_text in TEXT_KINDS) else column


def _numbers(path: Path, name: str, column: Any, *, truths: bool) -> Any:
    kind = column.type
    if pa.types.is_boolean(kind) and truths:
        return column.cast(pa.float64())
    if not any(is_number(kind) for is_number in NUMBER_KINDS):
        first = next((cell for cell in column if cell.is_valid), None)
        index = 0 if first is None else pc.index(column.is_valid(), True).as_py()
        shown = None if first is None else first.as_py()
        raise CellRefused(index, shown, f"{A_TRUTH if truths else A_NUMBER}, and the column holds {kind}")
    try:
        return column.cast(pa.float64())
    except pa.ArrowInvalid:
        index = pc.index(pc.greater(pc.abs(column), 2**53), True).as_py()
        raise CellRefused(index, column[index].as_py(), f"{A_NUMBER}, whole ones up to {2**53}") from None


def _valid(path: Path, name: str, column: Any) -> Any:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise FileRefused(f"{path}: column {name} holds a text that is not UTF-8 ({error}): write it again") from None
    return column

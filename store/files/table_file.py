"""One reader for users' files of rows, chosen by the file's name: CSV, JSONL or Parquet.

A text is the text that stands in the file, whatever it looks like; a number is a number. A row that
cannot be read as it stands is refused with its line, and never joined with another, filled up or
left out. Arrow reads Parquet, whose columns have kinds. It reads CSV and JSON by guessing kinds (an
id becomes a float, a text a time) and joins rows across a stray quote, so those two are read by
Python's own readers, a run of rows at a time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from store.errors import FileRefused
from store.files import cells
from store.files.csv_rows import CsvRows
from store.files.jsonl_rows import JsonlRows
from store.files.parquet_columns import read_parquet
from store.files.wanted import CellRefused, Wanted, at_cell, not_utf8, shown_names

SUFFIXES = (".parquet", ".csv", ".jsonl", ".ndjson")
KINDS = {"texts": pa.string(), "numbers": pa.float64(), "truths": pa.float64(), "times": pa.string()}
Builds = Mapping[str, cells.Build]
CSV: Builds = {
    "texts": cells.csv_texts,
    "numbers": cells.csv_numbers,
    "truths": cells.csv_truths,
    "times": cells.csv_times,
}
JSON: Builds = {
    "texts": cells.json_texts,
    "numbers": cells.json_numbers,
    "truths": cells.json_truths,
    "times": cells.json_times,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TableFile:
    """What a file holds of the wanted columns."""

    file: str  # its name, for messages
    table: pa.Table  # texts as string, numbers as float64, times as string or, from Parquet, as they are stored
    names: tuple[str, ...]  # of all its columns
    rows: int
    lines: int | None  # in the file; None where it has none (Parquet)
    line_of: npt.NDArray[np.int64] | None  # [n] at which each row begins, from 1

    def line(self, row: int) -> int | None:
        """The line at which a row begins, from 1; None where there are no lines."""
        return None if self.line_of is None else int(self.line_of[row])


def read_table_file(path: Path, wanted: Wanted) -> TableFile:
    """The file's rows.

    Raises FileRefused for a file that is missing, of an unknown kind or without rows, or that names
    a column twice, and for a line or a cell that cannot be read as it stands.
    """
    if path.suffix not in SUFFIXES:
        raise FileRefused(f"{path}: {path.suffix or 'no suffix'!r} is not a table; use {', '.join(SUFFIXES)}")
    try:
        table = _parquet(path, wanted) if path.suffix == ".parquet" else _lines(path, wanted)
    except FileNotFoundError:
        raise FileRefused(f"{path} is not there; check the path") from None
    except UnicodeDecodeError:
        raise not_utf8(path) from None
    except (pa.ArrowException, OSError) as error:
        raise FileRefused(f"{path} cannot be read: {error}; write it again as Parquet, CSV or JSONL") from error
    if len(set(table.names)) != len(table.names):
        raise FileRefused(f"{path} names a column twice ({shown_names(table.names)}); rename one")
    if table.rows == 0:
        raise FileRefused(f"{path} has no rows; give at least one")
    return table


def _parquet(path: Path, wanted: Wanted) -> TableFile:
    table, names, rows = read_parquet(path, wanted)
    return TableFile(file=path.name, table=table, names=names, rows=rows, lines=None, line_of=None)


def _lines(path: Path, wanted: Wanted) -> TableFile:
    csv = path.suffix == ".csv"
    with path.open(encoding="utf-8-sig", newline="" if csv else None) as stream:
        return _csv(stream, path.name, wanted) if csv else _jsonl(stream, path.name, wanted)


def _csv(stream: TextIO, file: str, wanted: Wanted) -> TableFile:
    source = CsvRows(stream, file, wanted)
    place = {name: at for at, name in enumerate(source.names)}
    columns = _Columns(file, wanted, CSV)
    for rows, starts in source.runs():
        columns.add({name: [row[place[name]] for row in rows] for name in columns.wanted if name in place}, starts)
    return columns.found(source.names, source.lines)


def _jsonl(stream: TextIO, file: str, wanted: Wanted) -> TableFile:
    source = JsonlRows(stream, file)
    columns = _Columns(file, wanted, JSON)
    for rows, starts in source.runs():
        columns.add({name: [row.get(name) for row in rows] for name in columns.wanted if name in source.names}, starts)
    return columns.found(source.names, source.lines)


class _Columns:
    """Columns that grow by a run of rows at a time."""

    def __init__(self, file: str, wanted: Wanted, builds: Builds) -> None:
        self.file = file
        self.wanted = {name: (kind, builds[kind]) for kind in KINDS for name in getattr(wanted, kind)}
        self._runs: dict[str, list[pa.Array]] = {name: [] for name in self.wanted}
        self._starts: list[npt.NDArray[np.int64]] = []
        self._rows = 0

    def add(self, run: Mapping[str, Sequence[Any]], starts: Sequence[int]) -> None:
        """A run's cells by column, and the line that each row begins at; an absent
        column is null.
        """
        for name, (kind, build) in self.wanted.items():
            if name not in run:
                self._runs[name].append(pa.nulls(len(starts), KINDS[kind]))
                continue
            try:
                self._runs[name].append(build(run[name]))
            except CellRefused as fault:
                row, line = self._rows + fault.index, starts[fault.index]
                raise at_cell(self.file, name, row, line, fault.value, fault.cure) from None
        self._starts.append(np.array(starts, dtype=np.int64))
        self._rows += len(starts)

    def found(self, names: Sequence[str], lines: int) -> TableFile:
        """All of it; a wanted column that the file does not name is left out."""
        table = {
            name: pa.chunked_array(self._runs[name], KINDS[kind])
            for name, (kind, _) in self.wanted.items()
            if name in names
        }
        return TableFile(
            file=self.file,
            table=pa.table(table),
            names=tuple(names),
            rows=self._rows,
            lines=lines,
            line_of=np.concatenate(self._starts),
        )

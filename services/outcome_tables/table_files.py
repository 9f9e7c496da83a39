"""A user's file as columns (`store.files` reads it), and a table of ours as a file."""

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from services.errors import TableInvalid
from services.outcome_tables.columns import Columns
from store.errors import FileRefused
from store.files import SUFFIXES, Wanted, read_table_file


def read_columns(path: Path, wanted: Wanted, mapping: Mapping[str, str | None] | None = None) -> Columns:
    """The file's rows, `wanted` by field; `mapping` says whose columns have other names.

    Raises TableInvalid for a file, a line or a cell that cannot be read as it stands, and for a
    mapped column that is not there.
    """
    mapping = mapping or {}
    try:
        return Columns(source=read_table_file(path, wanted.called(mapping)), mapping=mapping)
    except FileRefused as error:
        raise TableInvalid(str(error)) from error


def write_table(table: pa.Table, path: Path) -> None:
    """Writes the table as the kind of file that `path` names."""
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
    elif path.suffix == ".csv":
        pyarrow.csv.write_csv(_without_zone_names(table), path)
    elif path.suffix in (".jsonl", ".ndjson"):
        _write_lines(table, path)
    else:
        raise TableInvalid(f"{path}: {path.suffix or 'no suffix'!r} is not a table; use {', '.join(SUFFIXES)}")


def _write_lines(table: pa.Table, path: Path) -> None:
    names = table.column_names
    with path.open("w", encoding="utf-8") as lines:
        for batch in _without_zone_names(table).to_batches(max_chunksize=10_000):
            columns = [batch.column(name).to_pylist() for name in names]
            for row in zip(*columns, strict=True):
                cells = {name: cell for name, cell in zip(names, row, strict=True) if cell is not None}
                lines.write(json.dumps(cells, ensure_ascii=False, allow_nan=False) + "\n")


def _without_zone_names(table: pa.Table) -> pa.Table:
    """UTC times as text with a Z, which every reader takes for what it is."""
    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            text = pc.strftime(table.column(index).cast(pa.timestamp("us", "UTC")), format="%Y-%m-%dT%H:%M:%SZ")
            table = table.set_column(index, field.name, text)
    return table

"""One table out of a Parquet, CSV or JSONL file, chosen by the file's name.

CSV carries no types, so the text columns are named here (an id `007` stays `007`) and an empty cell is null.
Arrow reads all three in C++: a million rows take about a second.
"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from services.errors import TableInvalid

NULLS = ["", "null", "NULL", "None"]
SUFFIXES = (".parquet", ".csv", ".jsonl", ".ndjson")


def read_table(path: Path, *, text_columns: tuple[str, ...] = (), time_columns: tuple[str, ...] = ()) -> pa.Table:
    """The file's rows as an Arrow table.

    In CSV `text_columns` are never guessed to be numbers or times. In JSONL `time_columns` stay text: Arrow's reader
    would turn an offset into UTC and forget that it was there, so that a naive time could not be told.

    Raises TableInvalid for a file that is missing, of an unknown kind, malformed or without rows.
    """
    if path.suffix not in SUFFIXES:
        raise TableInvalid(f"{path}: {path.suffix or 'no suffix'!r} is not a table; use {', '.join(SUFFIXES)}")
    try:
        table = _read(path, text_columns, time_columns)
    except FileNotFoundError:
        raise TableInvalid(f"{path} is not there; check the path") from None
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        if path.suffix != ".parquet" and path.is_file():
            _refuse_other_encodings(path)
        raise TableInvalid(f"{path} cannot be read: {error}; write it again as Parquet, CSV or JSONL") from error
    if table.num_rows == 0:
        raise TableInvalid(f"{path} has no rows; give at least one")
    if len(set(table.column_names)) != table.num_columns:
        raise TableInvalid(f"{path} names a column twice ({', '.join(table.column_names)}); rename one")
    return table


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


def _read(path: Path, text_columns: tuple[str, ...], time_columns: tuple[str, ...]) -> pa.Table:
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path)
    if path.suffix == ".csv":
        _refuse_other_separators(path)
        convert = pyarrow.csv.ConvertOptions(
            null_values=NULLS,
            strings_can_be_null=True,
            column_types={name: pa.string() for name in text_columns},
        )
        parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
        return pyarrow.csv.read_csv(path, convert_options=convert, parse_options=parse)
    # JSON has types of its own: a number given for an id is taken and turned into text later.
    schema = pa.schema([(name, pa.string()) for name in time_columns])
    table = pyarrow.json.read_json(
        path,
        read_options=pyarrow.json.ReadOptions(block_size=64 << 20),
        parse_options=pyarrow.json.ParseOptions(explicit_schema=schema),
    )
    return table.drop_columns([name for name in time_columns if table.column(name).null_count == table.num_rows])


def _refuse_other_separators(path: Path) -> None:
    """A CSV without a comma in its head but with a semicolon or a tab is one that a spreadsheet wrote its own way."""
    with path.open("rb") as file:
        head = file.readline(1 << 16)
    for separator, name in ((b";", "semicolons"), (b"\t", "tabs")):
        if separator in head and b"," not in head:
            raise TableInvalid(
                f"{path}: its columns are separated by {name}; write it again with commas and decimal points"
            )


def _refuse_other_encodings(path: Path) -> None:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = f"{line[error.start]:#04x}"
                raise TableInvalid(
                    f"{path}: line {number} holds the byte {byte}, which is not UTF-8; save the file as UTF-8"
                ) from None


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

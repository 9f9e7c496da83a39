"""Rows that may hold objects and lists, as logs of other systems do, one after another.

Read are JSON lines, a JSON document (an array, an object whose first field `data` is one, as pages
of an API are, or objects one behind another), Parquet, and CSV, whose cells are texts. No more than
a run of rows, or the longest object, is in memory at a time. NaN and Infinity are let through:
engines write them as log-probabilities, and whoever reads a number says what they cost.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet

from store.errors import FileRefused
from store.files.csv_rows import LONGEST, CsvRows
from store.files.jsonl_rows import CURE, JsonlRows, decoder, why
from store.files.wanted import Wanted, at_line, not_utf8

SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".csv")
PIECE = 1 << 20  # characters read at once
BATCH = 256  # rows of a Parquet file at once
HEAD = re.compile(r'\s*(?:\{\s*"data"\s*:\s*)?\[')
BETWEEN = re.compile(r"[\s,]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class NestedRow:
    """One row, and where it stands in the file."""

    number: int  # from 0
    line: int | None  # from 1; None where the file has none
    fields: Mapping[str, Any]


def nested_rows(path: Path) -> Iterator[NestedRow]:
    """The file's rows in their order.

    Raises FileRefused for a file that is missing or of another kind, and for a row that cannot be
    read, with its line.
    """
    if path.suffix not in SUFFIXES:
        raise FileRefused(f"{path}: {path.suffix or 'no suffix'!r} is not a log; use {', '.join(SUFFIXES)}")
    try:
        rows = _parquet(path) if path.suffix == ".parquet" else _written(path)
        for number, (line, fields) in enumerate(rows):
            yield NestedRow(number=number, line=line, fields=fields)
    except FileNotFoundError:
        raise FileRefused(f"{path} is not there; check the path") from None
    except UnicodeDecodeError:
        raise not_utf8(path) from None
    except (pa.ArrowException, OSError) as error:
        raise FileRefused(f"{path} cannot be read: {error}; write it again as JSON lines") from error


def _parquet(path: Path) -> Iterator[tuple[None, dict[str, Any]]]:
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=BATCH):
        for fields in batch.to_pylist():
            yield None, fields


def _written(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="" if path.suffix == ".csv" else None) as stream:
        if path.suffix == ".json":
            yield from _documents(stream, path.name)
        elif path.suffix == ".csv":
            source = CsvRows(stream, path.name, Wanted())
            for cells, starts in source.runs():
                for line, row in zip(starts, cells, strict=True):
                    yield line, {name: cell or None for name, cell in zip(source.names, row, strict=True)}
        else:
            for rows, starts in JsonlRows(stream, path.name, finite=False).runs():
                yield from zip(starts, rows, strict=True)


def _documents(stream: TextIO, file: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON document, read a piece at a time."""
    json, text, piece = decoder(finite=False), stream.read(PIECE), PIECE
    head = HEAD.match(text)
    at, listed = (0, False) if head is None else (head.end(), True)
    line = 1 + text.count("\n", 0, at)
    while True:
        begin = BETWEEN.match(text, at).end()  # type: ignore[union-attr]
        line += text.count("\n", at, begin)
        at = begin
        if at == len(text):
            text, at = stream.read(PIECE), 0
            if not text:
                return
            continue
        if listed and text[at] == "]":
            return
        try:
            value, end = json.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            more = stream.read(piece) if len(text) - at < LONGEST else ""
            if not more:
                raise at_line(file, line, f" begins no JSON object ({why(error, text)}): {CURE}") from error
            text, at, piece = text[at:] + more, 0, 2 * piece
            continue
        if not isinstance(value, dict):
            raise at_line(file, line, f" is {str(value)[:80]}: a list of objects is expected")
        yield line, value
        line += text.count("\n", at, end)
        at, piece = end, PIECE

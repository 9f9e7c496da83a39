"""Users' files of rows: CSV, JSONL and Parquet through one reader, in which text stays text."""

from store.files.nested_rows import NestedRow, nested_rows
from store.files.table_file import SUFFIXES, TableFile, read_table_file
from store.files.wanted import Wanted, lines_without_rows

__all__ = [
    "SUFFIXES",
    "NestedRow",
    "TableFile",
    "Wanted",
    "lines_without_rows",
    "nested_rows",
    "read_table_file",
]

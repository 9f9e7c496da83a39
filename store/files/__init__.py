"""Users' files of rows: CSV, JSONL and Parquet through one reader, in which text stays text."""

from store.files.table_file import SUFFIXES, TableFile, read_table_file
from store.files.wanted import Wanted, told_of_lines

__all__ = ["SUFFIXES", "TableFile", "Wanted", "read_table_file", "told_of_lines"]

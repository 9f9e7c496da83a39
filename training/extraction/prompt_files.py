"""Files of prompts: Parquet, CSV or JSONL with `query_id` and `prompt`, both the text that stands
there.

An outcome table has both columns, once per tier: a query that stands there again, with the same
prompt, is one query.
"""

import logging
from pathlib import Path

from store.errors import FileRefused
from store.files import SUFFIXES, Wanted, lines_without_rows, read_table_file
from training.errors import ExtractionRefused

log = logging.getLogger("knowgate.training")

_COLUMNS = ("query_id", "prompt")


def read_prompts(path: Path) -> tuple[list[str], list[str]]:
    """The distinct queries and their prompts, in the file's order. Raises ExtractionRefused."""
    if path.suffix not in SUFFIXES or not path.exists():
        raise ExtractionRefused(f"prompts is {path}: name an existing {', '.join(SUFFIXES)} file")
    try:
        table = read_table_file(path, Wanted(texts=_COLUMNS))
    except FileRefused as error:
        raise ExtractionRefused(str(error)) from error
    warning = lines_without_rows(path, table.rows, table.lines)
    if warning is not None:
        log.warning(warning)
    for name in _COLUMNS:
        if name not in table.names:
            raise ExtractionRefused(f"{path} has no column {name!r} ({', '.join(table.names)}): add it")
    prompts: dict[str, str] = {}
    columns = (table.table.column(name).to_pylist() for name in _COLUMNS)
    for row, (query, prompt) in enumerate(zip(*columns, strict=True)):
        at = table.line(row)
        line = "" if at is None else f" (line {at})"
        if not query:
            raise ExtractionRefused(f"{path}: row {row + 1} has no query_id: give it one, or leave the row out{line}")
        if prompt is None:
            raise ExtractionRefused(f"{path}: query {query!r} has no prompt: leave such rows out{line}")
        if prompts.setdefault(query, prompt) != prompt:
            raise ExtractionRefused(f"{path}: query {query!r} has two different prompts: give each its own query_id")
    return list(prompts), list(prompts.values())

"""Files of prompts: Parquet, CSV or JSONL with `query_id` and `prompt`, both the text that stands there.

An outcome table has both columns, once per tier: a query that stands there again, with the same prompt, is one query.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from reprlib import repr as shortly

import pyarrow as pa
from pyarrow import csv, parquet

from training.errors import ExtractionRefused

Rows = Iterable[tuple[object, object]]  # query_id and prompt, as the file has them
_COLUMNS = ("query_id", "prompt")
_CSV_BLOCK = 64 << 20  # bytes read at once, so the longest row


def read_prompts(path: Path) -> tuple[list[str], list[str]]:
    """The distinct queries and their prompts, in the file's order. Raises ExtractionRefused."""
    reader = _READERS.get(path.suffix)
    if reader is None or not path.is_file():
        raise ExtractionRefused(f"prompts is {path}: name an existing {', '.join(_READERS)} file")
    prompts: dict[str, str] = {}
    try:
        for number, (query, prompt) in enumerate(reader(path), start=1):
            name, text = _checked(path, number, query, prompt)
            if prompts.setdefault(name, text) != text:
                raise ExtractionRefused(f"{path}: query {name!r} has two different prompts: give each its own query_id")
    except UnicodeError as error:
        raise ExtractionRefused(f"{path} is not UTF-8 ({error}): save the file as UTF-8") from error
    except (pa.ArrowException, OSError) as error:
        raise ExtractionRefused(f"prompts is {path}: it cannot be read ({error}); write it again") from error
    return list(prompts), list(prompts.values())


def _checked(path: Path, number: int, query: object, prompt: object) -> tuple[str, str]:
    """A row's query and prompt, as text. Only a whole number has one spelling, so only it may stand for its text."""
    if query is None or query == "":
        raise ExtractionRefused(f"{path}: row {number} has no query_id: give it one, or leave the row out")
    if isinstance(query, int) and not isinstance(query, bool):
        query = str(query)
    if not isinstance(query, str):
        raise ExtractionRefused(f"{path}: row {number}: query_id is {shortly(query)}: write it as text")
    if prompt is None:
        raise ExtractionRefused(f"{path}: query {query!r} has no prompt: leave such rows out")
    if not isinstance(prompt, str):
        raise ExtractionRefused(f"{path}: query {query!r}: prompt is {shortly(prompt)}: write it as text")
    for text in (query, prompt):
        text.encode()  # half a surrogate pair, which JSON may spell, is no text
    return query, prompt


def _rows_of_parquet(path: Path) -> Rows:
    file = parquet.ParquetFile(path)  # an outcome table may carry much besides: only two columns are read
    _refuse_columns(path, file.schema_arrow.names)
    table = file.read(columns=list(_COLUMNS))
    for name in _COLUMNS:
        if pa.types.is_binary(table.schema.field(name).type):
            raise ExtractionRefused(f"{path}: column {name} holds bytes: write it as text")
    return zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True)


def _rows_of_csv(path: Path) -> Rows:
    """CSV carries no types, and a guess would take `001` for 1 and `true` for True: both columns stay as they are."""
    table = csv.read_csv(
        path,
        read_options=csv.ReadOptions(block_size=_CSV_BLOCK),
        parse_options=csv.ParseOptions(newlines_in_values=True),  # else a block may end within a prompt
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(_COLUMNS, pa.binary())),
    )
    _refuse_columns(path, table.column_names)
    return zip(*([cell.decode() for cell in table[name].to_pylist()] for name in _COLUMNS), strict=True)


def _rows_of_jsonl(path: Path) -> Rows:
    """Read line by line: a reader of whole columns makes times of texts that look like one."""
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                row = _object_in(path, number, line)
                yield row.get("query_id"), row.get("prompt")


def _object_in(path: Path, number: int, line: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ExtractionRefused(f"{path}: line {number} is no JSON ({error}): write it again") from error
    if not isinstance(row, dict):
        raise ExtractionRefused(
            f"{path}: line {number} is {shortly(row)}: write an object with {' and '.join(_COLUMNS)}"
        )
    return row


def _refuse_columns(path: Path, names: Sequence[str]) -> None:
    for name in _COLUMNS:
        if name not in names:
            raise ExtractionRefused(f"{path} has no column {name!r} ({', '.join(names)}): add it")
        if names.count(name) > 1:
            raise ExtractionRefused(f"{path} has {names.count(name)} columns {name!r}: keep one, or rename the others")


_READERS: dict[str, Callable[[Path], Rows]] = {
    ".parquet": _rows_of_parquet,
    ".csv": _rows_of_csv,
    ".jsonl": _rows_of_jsonl,
}

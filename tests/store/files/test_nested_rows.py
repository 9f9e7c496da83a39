"""Logs of other systems: whatever holds their rows, each comes whole, with its line."""

import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from store.errors import FileRefused
from store.files import nested_rows

ROWS = [{"id": "a", "usage": {"input": 3}}, {"id": "b", "usage": {"input": 4}, "log": [-0.1, None]}]


def read(path: Path) -> list[Any]:
    return [dict(row.fields) for row in nested_rows(path)]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        json.dumps({"data": ROWS, "meta": {"page": 1}}),
        "\n".join(map(json.dumps, ROWS)),
        "\ufeff" + json.dumps(ROWS),
    ],
)
def test_a_document_an_array_a_page_and_objects_hold_the_same_rows(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log.json"
    path.write_text(text)
    assert read(path) == ROWS


def test_lines_parquet_and_cells_are_rows_too(tmp_path: Path) -> None:
    lines, columns, cells = tmp_path / "log.jsonl", tmp_path / "log.parquet", tmp_path / "log.csv"
    lines.write_text("\n".join(map(json.dumps, ROWS)))
    pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS), columns)
    cells.write_text('id,usage\na,"{""input"": 3}"\nb,\n')
    assert read(lines) == ROWS
    assert read(columns) == [{"id": "a", "usage": {"input": 3}}, {"id": "b", "usage": {"input": 4}}]
    assert read(cells) == [{"id": "a", "usage": '{"input": 3}'}, {"id": "b", "usage": None}]


@pytest.mark.parametrize("name", ["log.jsonl", "log.json"])
def test_infinities_of_engines_are_let_through(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text('{"logprob": -Infinity}\n')
    assert read(path) == [{"logprob": -math.inf}]


def test_an_object_longer_than_a_piece_is_read_whole_and_lines_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    long = {"id": "x" * 5_000_000}
    path.write_text(json.dumps([ROWS[0], long, ROWS[1]], indent=1))
    rows = list(nested_rows(path))
    assert [row.fields for row in rows] == [ROWS[0], long, ROWS[1]]
    assert [(row.number, row.line) for row in rows] == [(0, 2), (1, 8), (2, 11)]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("log.json", '[{"id": 1},\n\n{"id": }]', "log.json: line 3 begins no JSON object"),
        ("log.json", '[{"id": 1},\n7]', "line 2 is 7: a list of objects is expected"),
        ("log.json", '[{"id": 1, "id": 2}]', "line 1 begins no JSON object .*'id' twice"),
        ("log.jsonl", '{"id": 1}\n[1]', "line 2 is .*write an object"),
        ("log.txt", "", "'.txt' is not a log"),
    ],
)
def test_what_is_no_row_is_refused_with_its_line(tmp_path: Path, name: str, text: str, words: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(FileRefused, match=words):
        read(path)


def test_a_file_that_is_not_there_or_no_utf8_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="is not there"):
        read(tmp_path / "none.json")
    path = tmp_path / "log.json"
    path.write_bytes(b'[\n{"id": "\xff"}]')
    with pytest.raises(FileRefused, match="line 2 holds the byte 0xff"):
        read(path)


def test_a_long_document_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    peaks = []
    for rows in (4_000, 16_000):
        path = tmp_path / f"{rows}.json"
        path.write_text(json.dumps([{"id": str(row), "text": "x" * 1000} for row in range(rows)]))
        tracemalloc.start()
        assert sum(1 for _ in nested_rows(path)) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]

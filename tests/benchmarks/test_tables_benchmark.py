"""The benchmark of readers at a small size: both ways read all rows, and every figure is there."""

from pathlib import Path

import pytest

from benchmarks import tables
from store.files import read_table_file


@pytest.mark.parametrize("kind", tables.KINDS)
def test_the_files_hold_the_same_rows_for_both_ways(tmp_path: Path, kind: str) -> None:
    path = tables.write(tmp_path, 200)[kind]
    assert tables.ours(path) == tables.arrow(path) == 200
    found = read_table_file(path, tables.WANTED)
    assert found.table.column("prompt")[10].as_py().endswith(', "10"?')
    assert set(tables.WANTED.names) & set(found.names) == set(found.table.column_names)


def test_a_reading_in_a_process_of_its_own_tells_what_it_cost(tmp_path: Path) -> None:
    seconds, megabytes = tables.alone(tables.ours, tables.write(tmp_path, 5000)["csv"], 5000)
    assert seconds > 0 and megabytes >= 0

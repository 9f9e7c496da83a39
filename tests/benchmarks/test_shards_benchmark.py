"""The benchmark of shard reading at a small size: it reads the same as the plain file and tells
every figure.
"""

import math
import tempfile
from pathlib import Path

import pytest

from benchmarks import shards


@pytest.mark.slow
def test_every_figure_is_there_and_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    figures = shards.measure(quick=True, rows=300)
    assert (figures["rows"], figures["dimension"], figures["shards"]) == (300, 4096, 1)
    for name in (
        "write_gb_per_s",
        *(f"{figure}{fresh}" for fresh in ("", "_fresh") for figure in ("random_rows_per_s", "sequential_gb_per_s")),
        *(f"{kind}_ratio_vs_memmap{fresh}" for fresh in ("", "_fresh") for kind in ("random", "sequential")),
    ):
        value = figures[name]
        assert isinstance(value, float) and math.isfinite(value) and value > 0, name
    assert list(tmp_path.iterdir()) == []

"""Many shards read as one table: any rows in any order, blocks that cover all, and nothing but what
was stored.
"""

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from store.errors import FingerprintDiffers, ShardRefused
from store.shards.shards import MappedShard, RowReader, remove_shard, write_shard
from tests.vector_cast import DEEPER, FINGERPRINT

D = 6


class Table:
    """Rows of several shards in a shuffled order, and what they are."""

    def __init__(self, base: str, sizes: list[int], seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.values = rng.normal(size=(sum(sizes), D)).astype(np.float16)
        self.urls: list[str] = []
        self.rows: list[int] = []
        self.sha256: list[str] = []
        start = 0
        for size in sizes:
            ids = [str(start + row) for row in range(size)]
            shard = write_shard(base, self.values[start : start + size], ids, fingerprint=FINGERPRINT)
            self.urls += [shard.url] * size
            self.rows += list(range(size))
            self.sha256 += shard.row_sha256
            start += size

    def reader(self, order: Any = None, **more: Any) -> RowReader:
        order = range(len(self.rows)) if order is None else order
        urls, hashes = [self.urls[at] for at in order], [self.sha256[at] for at in order]
        return RowReader(urls, [self.rows[at] for at in order], sha256=hashes, **more)


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_rows_come_back_in_the_order_asked_for_from_any_shard(tmp_path: Path, scheme: str) -> None:
    base = f"file://{tmp_path}" if scheme == "file" else f"memory://{tmp_path.name}"
    table = Table(base, [3, 700, 1, 40])
    order = np.random.default_rng(1).permutation(744)
    with table.reader(order, fingerprint=FINGERPRINT, most_open=2) as reader:
        assert (len(reader), reader.dimension, len(reader.shards)) == (744, D, 4)
        for wanted in ([], [0], [743, 0, 0, 5], np.random.default_rng(2).integers(0, 744, 2000)):
            np.testing.assert_array_equal(reader.read(wanted), table.values[order[np.asarray(wanted, dtype=int)]])


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    size=st.integers(1, 50),
    seed=st.integers(0, 1000),
    shuffled=st.booleans(),
)
def test_blocks_cover_every_row_once_and_in_order(sizes: list[int], size: int, seed: int, shuffled: bool) -> None:
    table = Table("memory://blocks", sizes, seed)
    n = sum(sizes)
    order = np.random.default_rng(seed).permutation(n) if shuffled else np.arange(n)
    first, end = seed % n, n - seed % 3
    at = first
    for block in table.reader(order).blocks(size, first=first, end=end):
        assert block.first == at and 1 <= len(block.hidden) <= size
        np.testing.assert_array_equal(block.hidden, table.values[order[block.first : block.end]])
        at = block.end
    assert at == max(first, end)


def test_consecutive_blocks_of_a_local_shard_are_views_and_cannot_be_written_to(tmp_path: Path) -> None:
    reader = Table(str(tmp_path), [100, 100]).reader()
    blocks = list(reader.blocks(64))
    assert [len(block.hidden) for block in blocks] == [64, 36, 64, 36]
    assert all(block.hidden.base is not None for block in blocks)
    with pytest.raises(ValueError, match="read-only"):
        blocks[0].hidden[0, 0] = 1
    reader.close()
    assert np.isfinite(blocks[0].hidden).all(), "a view outlives its reader"


def test_a_reader_goes_on_after_its_shards_lost_their_names(tmp_path: Path) -> None:
    table = Table(str(tmp_path), [5, 5])
    reader = table.reader()
    reader.read([0, 9])
    for url in set(table.urls):
        remove_shard(url)
    np.testing.assert_array_equal(reader.read(np.arange(10)), table.values)


def test_a_reader_and_a_shard_travel_to_another_process(tmp_path: Path) -> None:
    table = Table(str(tmp_path), [5, 5])
    reader = table.reader()
    reader.read([1])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader)).read([7]), table.values[[7]])
    with MappedShard(table.urls[0]) as shard, pickle.loads(pickle.dumps(shard)) as sent:
        np.testing.assert_array_equal(sent.read([4]), shard.read([4]))


def test_a_changed_byte_is_found_at_its_row_and_nowhere_else(tmp_path: Path) -> None:
    table = Table(str(tmp_path), [5, 5])
    path = Path(table.urls[7])
    content = bytearray(path.read_bytes())
    content[4096 + 2 * D * 2] ^= 1  # row 2 of the second shard
    path.write_bytes(content)
    reader = table.reader()
    reader.read([0, 5, 6, 8])
    with pytest.raises(ShardRefused, match=rf"row 2 of {path}.*was stored"):
        reader.read([8, 7])
    with pytest.raises(ShardRefused, match="row 2"):
        list(table.reader().blocks(5))
    assert len(RowReader(table.urls, table.rows).read([7])) == 1, "without hashes nothing is compared"


def test_a_shard_swapped_for_another_of_the_same_shape_is_found(tmp_path: Path) -> None:
    table, other = Table(str(tmp_path), [5]), Table(str(tmp_path), [5], seed=9)
    Path(table.urls[0]).write_bytes(Path(other.urls[0]).read_bytes())
    with pytest.raises(ShardRefused, match="changed or swapped"):
        table.reader().read([0])


def test_what_does_not_belong_together_is_refused_before_the_first_row(tmp_path: Path) -> None:
    table = Table(str(tmp_path), [4])
    wide = write_shard(str(tmp_path), np.ones((2, D + 1)), ["a", "b"], fingerprint=FINGERPRINT)
    deeper = write_shard(str(tmp_path), np.ones((2, D)), ["a", "b"], fingerprint=DEEPER)
    with pytest.raises(ShardRefused, match=f"{wide.url} has vectors of dimension {D + 1}, {D} is expected"):
        RowReader([*table.urls, wide.url], [*table.rows, 0])
    with pytest.raises(FingerprintDiffers, match=r"fingerprint.layer 2, 1 is expected"):
        RowReader([*table.urls, deeper.url], [*table.rows, 0], fingerprint=FINGERPRINT)
    with pytest.raises(FingerprintDiffers, match="position"):
        table.reader(fingerprint=replace(FINGERPRINT, position="first_token"))
    with pytest.raises(ShardRefused, match="does not exist"):
        RowReader([*table.urls, f"{tmp_path}/gone.safetensors"], [*table.rows, 0])
    with pytest.raises(ShardRefused, match="one of each"):
        RowReader(table.urls, [0])
    with pytest.raises(ShardRefused, match="no vectors"):
        RowReader([], [])


def test_a_row_that_there_is_not_is_named(tmp_path: Path) -> None:
    table = Table(str(tmp_path), [4])
    with pytest.raises(ShardRefused, match="row 4 does not exist: the reader has rows 0 to 3"):
        table.reader().read([0, 4])
    with pytest.raises(ShardRefused, match="row -1 does not exist"):
        table.reader().read([-1])
    with pytest.raises(ShardRefused, match=r"row 9 of .* has rows 0 to 3"):
        RowReader([table.urls[0]], [9]).read([0])
    with MappedShard(table.urls[0]) as shard, pytest.raises(ShardRefused, match="rows 2 to 5"):
        shard.block(2, 5)


def test_rows_of_thousands_of_dimensions_are_copied_right_too(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(90, 1500)).astype(np.float16)
    written = [write_shard(str(tmp_path), values[at : at + 30], [str(row) for row in range(30)]) for at in (0, 30, 60)]
    reader = RowReader([shard.url for shard in written for _ in range(30)], list(range(30)) * 3)
    wanted = np.random.default_rng(1).integers(0, 90, 1500)
    np.testing.assert_array_equal(reader.read(wanted), values[wanted])


def test_a_row_that_is_not_finite_is_refused_though_its_hash_is_right(tmp_path: Path) -> None:
    values = np.ones((3, D), dtype=np.float16)
    values[1, 2] = np.nan
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(save({"hidden": values}))
    hashes = [hashlib.sha256(row).hexdigest() for row in values]
    reader = RowReader([str(path)] * 3, [0, 1, 2], sha256=hashes)
    assert len(reader.read([0, 2])) == 2
    with pytest.raises(ShardRefused, match=rf"row 1 of {path} is not finite"):
        reader.read([1])

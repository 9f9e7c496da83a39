"""Shards are whole or not there, and give back exactly the rows that were put in."""

from pathlib import Path

import numpy as np
import pytest

from store.shards.shards import ShardRefused, blank_rows, read_rows, remove_shard, shard_ids, verify_shard, write_shard


def _vectors(n: int = 7, d: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_rows_come_back_in_any_order_and_repeatedly(tmp_path: Path, scheme: str) -> None:
    base = f"file://{tmp_path}/shards" if scheme == "file" else "memory://shards"
    vectors = _vectors()
    shard = write_shard(base, vectors, [f"id{row}" for row in range(7)])
    wanted = [5, 0, 1, 5, 6]
    np.testing.assert_array_equal(read_rows(shard.url, wanted), vectors.astype(np.float16)[wanted])
    assert shard_ids(shard.url)[5] == "id5"
    assert verify_shard(shard.url, shard.sha256)
    assert read_rows(shard.url, []).shape == (0, 5)


def test_writing_twice_changes_nothing_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    first = write_shard(str(tmp_path), _vectors(), [str(row) for row in range(7)])
    second = write_shard(str(tmp_path), _vectors(), [str(row) for row in range(7)])
    assert first == second
    assert [file.suffix for file in tmp_path.rglob("*") if file.is_file()] == [".safetensors"]


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    shard = write_shard(str(tmp_path), _vectors(), [str(row) for row in range(7)])
    file = Path(shard.url)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert not verify_shard(shard.url, shard.sha256)


def test_erased_rows_are_zero_in_a_new_shard_and_the_old_one_can_be_removed(tmp_path: Path) -> None:
    old = write_shard(str(tmp_path), _vectors(), [str(row) for row in range(7)])
    new = blank_rows(old.url, {2: old.row_sha256[2]})
    kept = read_rows(new.url, range(7))
    assert not kept[2].any()
    np.testing.assert_array_equal(kept[3], _vectors().astype(np.float16)[3])
    remove_shard(old.url)
    remove_shard(old.url)
    assert not Path(old.url).exists()
    assert "2" not in shard_ids(new.url)


def test_what_is_no_shard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShardRefused, match="not finite"):
        write_shard(str(tmp_path), [[np.nan, 1.0]], ["a"])
    with pytest.raises(ShardRefused, match="one id"):
        write_shard(str(tmp_path), _vectors(), ["a"])
    shard = write_shard(str(tmp_path), _vectors(), [str(row) for row in range(7)])
    with pytest.raises(ShardRefused, match="rows 0 to 6"):
        read_rows(shard.url, [7])
    with pytest.raises(ShardRefused, match="does not exist"):
        read_rows(f"{tmp_path}/none.safetensors", [0])
    (tmp_path / "junk.safetensors").write_bytes(b"0" * 40)
    with pytest.raises(ShardRefused, match="safetensors"):
        read_rows(f"{tmp_path}/junk.safetensors", [0])

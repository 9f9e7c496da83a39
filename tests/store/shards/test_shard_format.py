"""A shard is a plain safetensors file that says what it holds, and anything else is refused by
name.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

from knowgate._records.records import Fingerprint
from knowgate._wire import codec
from store.errors import FingerprintDiffers, ShardRefused
from store.shards.shard_format import header_bytes
from store.shards.shards import MappedShard, blank_rows, read_rows, shard_ids, write_shard
from tests.vector_cast import DEEPER, FINGERPRINT

IDS = [f"id{row}" for row in range(7)]


def vectors(n: int = 7, d: int = 5) -> Any:
    return np.random.default_rng(0).normal(size=(n, d)).astype(np.float16)


def raw(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_any_safetensors_reader_reads_it_and_rows_begin_on_a_page(tmp_path: Path) -> None:
    shard = write_shard(str(tmp_path), vectors(), IDS, fingerprint=FINGERPRINT)
    with safe_open(shard.url, framework="numpy") as file:
        np.testing.assert_array_equal(file.get_tensor("hidden"), vectors())
        metadata = file.metadata()
    assert json.loads(metadata["ids"]) == IDS
    assert codec.decode(Fingerprint, json.loads(metadata["fingerprint"])) == FINGERPRINT
    content = Path(shard.url).read_bytes()
    assert content[4096:] == vectors().tobytes()


def test_rows_begin_on_the_first_page_that_the_header_leaves_free() -> None:
    lengths = set()
    for spare in range(4096):
        header = header_bytes((1, 5), ["x" * spare], FINGERPRINT)
        needed = len(header.rstrip())
        assert len(header) == -(-needed // 4096) * 4096
        lengths.add(needed % 4096)
    assert 0 in lengths, "also where the header fills its pages to the last byte"


def test_a_shard_by_another_writer_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(save({"hidden": vectors()}, metadata={"ids": json.dumps(IDS)}))
    np.testing.assert_array_equal(read_rows(str(path), [6, 0]), vectors()[[6, 0]])
    assert shard_ids(str(path)) == tuple(IDS)
    with MappedShard(str(path), fingerprint=FINGERPRINT) as shard:
        assert shard.fingerprint is None, "one that says nothing contradicts nothing"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "other"),
        ("revision", "v2"),
        ("dtype", "bfloat16"),
        ("engine", "vllm"),
        ("engine_version", "6"),
        ("chat_template_sha256", "1" * 64),
        ("layer", 9),
        ("position", "first_token"),
        ("normed", True),
    ],
)
def test_another_fingerprint_is_refused_by_the_field_and_both_values(tmp_path: Path, field: str, value: Any) -> None:
    shard = write_shard(str(tmp_path), vectors(), IDS, fingerprint=FINGERPRINT)
    with pytest.raises(FingerprintDiffers) as caught:
        read_rows(shard.url, [0], fingerprint=replace(FINGERPRINT, **{field: value}))
    assert (caught.value.field, caught.value.expected, caught.value.found) == (
        field,
        value,
        getattr(FINGERPRINT, field),
    )
    for part in (shard.url, f"fingerprint.{field}", repr(value), repr(getattr(FINGERPRINT, field))):
        assert part in str(caught.value)
    assert read_rows(shard.url, [0], fingerprint=FINGERPRINT).shape == (1, 5)


def test_a_blanked_shard_keeps_its_fingerprint(tmp_path: Path) -> None:
    shard = write_shard(str(tmp_path), vectors(), IDS, fingerprint=DEEPER)
    with MappedShard(blank_rows(shard.url, {3: shard.row_sha256[3]}).url) as blanked:
        assert blanked.fingerprint == DEEPER


TENSOR = {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}
ROWS = b"\0" * 12
BAD = {
    "empty": (b"", "not a safetensors file"),
    "four bytes": (b"abcd", "not a safetensors file: its header would have 1684234849 bytes of 0;"),
    "wrong magic": (b"PK\x03\x04" + b"\0" * 4 + b"x" * 40, "not a safetensors file"),
    "a header beyond the limit": (
        (1 << 40).to_bytes(8, "little") + b"{}" * 99,
        "would have 1099511627776 bytes of 198;",
    ),
    "a header beyond the file": ((500).to_bytes(8, "little") + b"{}", "would have 500 bytes of 2;"),
    "no JSON": (raw(b"{" * 40), "not a vector shard"),
    "JSON too deep": (raw(b"[" * 60_000), "not a vector shard"),
    "no object": (raw([1, 2]), "not a vector shard"),
    "no tensor": (raw({"__metadata__": {}}), "not a vector shard"),
    "two tensors": (raw({"hidden": TENSOR, "more": TENSOR}, ROWS), "not a vector shard"),
    "another tensor": (raw({"weights": TENSOR}, ROWS), "'weights'"),
    "another dtype": (raw({"hidden": TENSOR | {"dtype": "BF16"}}, ROWS), "BF16, F16 is expected"),
    "three axes": (raw({"hidden": TENSOR | {"shape": [2, 3, 1]}}, ROWS), "not a vector shard"),
    "no rows": (raw({"hidden": TENSOR | {"shape": [0, 3], "data_offsets": [0, 0]}}), "do not belong together"),
    "a negative shape": (raw({"hidden": TENSOR | {"shape": [-2, -3]}}, ROWS), "do not belong together"),
    "a wrong dimension": (raw({"hidden": TENSOR | {"shape": [2, 4]}}, ROWS), "do not belong together"),
    "offsets elsewhere": (raw({"hidden": TENSOR | {"data_offsets": [4, 16]}}, ROWS), "do not belong together"),
    "cut off": (raw({"hidden": TENSOR}, ROWS[:-1]), "is cut off"),
    "a tail": (raw({"hidden": TENSOR}, ROWS + b"\0"), "has a tail"),
    "a foreign fingerprint": (
        raw({"hidden": TENSOR, "__metadata__": {"fingerprint": '{"model": 3}'}}, ROWS),
        "fingerprint that cannot be read",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_whole_shard_is_refused_by_name(tmp_path: Path, name: str) -> None:
    content, fault = BAD[name]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(ShardRefused, match=fault) as caught:
        read_rows(str(path), [0])
    assert str(path) in str(caught.value) and ("backup" in str(caught.value) or "write_shard" in str(caught.value))


def test_every_cut_of_a_shard_is_refused(tmp_path: Path) -> None:
    content = Path(write_shard(str(tmp_path), vectors(), IDS).url).read_bytes()
    path = tmp_path / "cut.safetensors"
    for length in [*range(9), 100, 4095, 4096, len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(ShardRefused):
            MappedShard(str(path))


def test_ids_that_do_not_fit_the_rows_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ids.safetensors"
    for ids in ('["a"]', "[", "3"):
        path.write_bytes(save({"hidden": vectors(2)}, metadata={"ids": ids}))
        with pytest.raises(ShardRefused, match="ids"):
            shard_ids(str(path))


@pytest.mark.parametrize("said", [3, None, [], {}, {"other": "x"}])
def test_what_is_said_of_no_shard_says_nothing_of_this_one(tmp_path: Path, said: Any) -> None:
    path = tmp_path / "bare.safetensors"
    path.write_bytes(raw({"hidden": TENSOR, "__metadata__": said}, ROWS))
    assert shard_ids(str(path)) == ()
    assert read_rows(str(path), [1, 0]).shape == (2, 3)


@pytest.mark.parametrize("rows", [[7], [0, 7], [-1, 3], [3, -1]])
def test_a_row_that_a_shard_does_not_have_is_refused_by_its_number(tmp_path: Path, rows: list[int]) -> None:
    shard = write_shard(str(tmp_path), vectors(), IDS)
    bad = next(row for row in rows if not 0 <= row < 7)
    with pytest.raises(ShardRefused, match=rf"row {bad} of .* does not exist: it has rows 0 to 6"):
        read_rows(shard.url, rows)


def test_a_shard_that_is_no_local_file_gives_rows_in_the_order_asked_for() -> None:
    shard = write_shard("memory://shards-of-a-test", vectors(), IDS)
    np.testing.assert_array_equal(read_rows(shard.url, [6, 0, 6, 3]), vectors()[[6, 0, 6, 3]])
    with MappedShard(shard.url) as mapped:
        np.testing.assert_array_equal(mapped.block(2, 5), vectors()[2:5])
        with pytest.raises(ShardRefused, match=r"rows 2 to 8 of .* do not exist: it has rows 0 to 6"):
            mapped.block(2, 8)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_vector_that_is_not_finite_is_refused_with_its_row_and_id(tmp_path: Path, bad: float) -> None:
    hidden = vectors().astype(np.float64)
    hidden[4, 2] = bad
    with pytest.raises(ShardRefused, match=r"row 4 \(id4\)"):
        write_shard(str(tmp_path), hidden, IDS)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_file_that_changed_is_looked_at_again(tmp_path: Path) -> None:
    shard = write_shard(str(tmp_path), vectors(), IDS)
    read_rows(shard.url, [0])
    content = Path(shard.url).read_bytes()
    Path(shard.url).write_bytes(content[:-1])
    with pytest.raises(ShardRefused, match="cut off"):
        read_rows(shard.url, [0])
    again = write_shard(str(tmp_path), vectors(), IDS)
    assert again == shard
    np.testing.assert_array_equal(read_rows(shard.url, [6]), vectors()[[6]])


def test_a_place_that_no_file_system_knows_is_refused() -> None:
    with pytest.raises(ShardRefused, match="no place for shards"):
        write_shard("nowhere://bucket", vectors(), IDS)

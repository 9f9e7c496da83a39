"""One row of a file of hidden states, in any of the engines' number formats; the file goes in every case."""

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from knowgate.backends.states_file import StatesUnreadable, take_row


def soon() -> float:
    return time.monotonic() + 0.05


def raw(path: Path, header: object, body: bytes = b"") -> Path:
    content = json.dumps(header).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content + body)
    return path


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_wanted_row_of_the_wanted_layer_is_taken(tmp_path: Path, dtype: type) -> None:
    states = np.random.default_rng(0).normal(size=(5, 3, 8)).astype(dtype)
    for row, layer in ((0, 0), (4, 2), (2, 1)):
        path = tmp_path / "a.safetensors"
        save_file({"hidden_states": states, "token_ids": np.arange(5)}, path)
        taken = take_row(path, row=row, layer=layer, layers=3, deadline=soon())
        assert taken.dtype == np.float32
        assert np.array_equal(taken, states[row, layer].astype(np.float32))
        assert not path.exists()


def test_bfloat16_is_read_exactly(tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, 3.0e38, 1e-30], dtype=np.float32)
    upper = (values.view(np.uint32) >> 16).astype("<u2")
    header = {"hidden_states": {"dtype": "BF16", "shape": [1, 1, 4], "data_offsets": [0, 8]}}
    path = raw(tmp_path / "a.safetensors", header, upper.tobytes())
    expected = (upper.astype(np.uint32) << 16).view(np.float32)
    assert np.array_equal(take_row(path, row=None, layer=0, layers=1, deadline=soon()), expected)


def test_a_file_that_is_still_growing_is_waited_for(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole", tmp_path / "a.safetensors"
    states = np.ones((2, 1, 64), dtype=np.float32)
    save_file({"hidden_states": states}, whole)
    content = whole.read_bytes()
    path.write_bytes(content[:100])
    writer = threading.Timer(0.05, path.write_bytes, (content,))
    writer.start()
    taken = take_row(path, row=1, layer=0, layers=1, deadline=time.monotonic() + 5)
    writer.join()
    assert taken.tolist() == [1.0] * 64


@pytest.mark.parametrize(
    "header",
    [
        [],
        {"hidden_states": 7},
        {"token_ids": {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]}},
        {"hidden_states": {"dtype": "F64", "shape": [1, 1, 2], "data_offsets": [0, 16]}},
        {"hidden_states": {"dtype": "F32", "shape": [1, 4], "data_offsets": [0, 16]}},
        {"hidden_states": {"dtype": "F32", "shape": [1, 1, 3], "data_offsets": [0, 16]}},
        {"hidden_states": {"dtype": "F32", "shape": [-1, -1, 4], "data_offsets": [0, 16]}},
        {"hidden_states": {"dtype": "F32", "shape": [0, 1, 4], "data_offsets": [0, 0]}},
        {"hidden_states": {"dtype": "F32", "shape": [1, 1, 4], "data_offsets": [-16, 0]}},
        {"hidden_states": {"dtype": "F32", "shape": [1.0, 1.0, 4.0], "data_offsets": [0, 16]}},
        {"hidden_states": {"dtype": "F32", "shape": [1, 1, 4], "data_offsets": [0, float("inf")]}},
        {"hidden_states": {"dtype": ["F32"], "shape": [1, 1, 4], "data_offsets": [0, 16]}},
        {"hidden_states": {"dtype": "F32", "shape": [1, 1, 4], "data_offsets": [0, 16000]}},
    ],
)
def test_a_corrupt_file_is_refused_and_deleted(tmp_path: Path, header: object) -> None:
    path = raw(tmp_path / "a.safetensors", header, bytes(16))
    with pytest.raises(StatesUnreadable):
        take_row(path, row=None, layer=0, layers=1, deadline=soon())
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"\x01", b"\xff" * 64, (20).to_bytes(8, "little") + b"{" * 20])
def test_what_is_no_safetensors_file_is_refused_and_deleted(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(StatesUnreadable):
        take_row(path, row=None, layer=0, layers=1, deadline=soon())
    assert not path.exists()


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(StatesUnreadable, match="cannot be read"):
        take_row(tmp_path / "a.safetensors", row=None, layer=0, layers=1, deadline=soon())

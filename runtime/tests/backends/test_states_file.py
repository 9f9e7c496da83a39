"""One row of a file of hidden states, in any of the engines' number formats; the file goes in every
case.
"""

import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from knowgate.backends.states_file import StatesUnreadable, discard_left_overs, take_state


def soon() -> float:
    return time.monotonic() + 0.05


def raw(path: Path, header: object, body: bytes = b"") -> Path:
    content = json.dumps(header).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content + body)
    return path


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_last_prompt_tokens_row_of_the_wanted_layer_is_taken(tmp_path: Path, dtype: type) -> None:
    states = np.random.default_rng(0).normal(size=(5, 3, 8)).astype(dtype)
    for layer in (0, 2, 1):
        path = tmp_path / "a.safetensors"
        save_file({"hidden_states": states, "token_ids": np.arange(5)}, path)
        taken = take_state(path, prompt_tokens=5, layer=layer, layers=3, deadline=soon())
        assert taken.dtype == np.float32
        assert np.array_equal(taken, states[4, layer].astype(np.float32))
        assert not path.exists()


def test_bfloat16_is_read_exactly(tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, 3.0e38, 1e-30], dtype=np.float32)
    upper = (values.view(np.uint32) >> 16).astype("<u2")
    path = raw(tmp_path / "a.safetensors", HELD | {"hidden_states": BF16}, upper.tobytes() + bytes(8))
    expected = (upper.astype(np.uint32) << 16).view(np.float32)
    assert np.array_equal(take_state(path, prompt_tokens=1, layer=0, layers=1, deadline=soon()), expected)


@pytest.mark.parametrize("cut", [0, 5, 8, 60, 170, 300, -1])
def test_a_file_that_is_still_growing_is_waited_for_wherever_it_is_cut(tmp_path: Path, cut: int) -> None:
    whole, path = tmp_path / "whole", tmp_path / "a.safetensors"
    save_file({"hidden_states": np.ones((2, 1, 64), dtype=np.float32), "token_ids": np.arange(2)}, whole)
    content = whole.read_bytes()
    path.write_bytes(content[:cut])
    writer = threading.Timer(0.03, path.write_bytes, (content,))
    writer.start()
    taken = take_state(path, prompt_tokens=2, layer=0, layers=1, deadline=time.monotonic() + 5)
    writer.join()
    assert taken.tolist() == [1.0] * 64


@pytest.mark.parametrize("cut", [5, 8, 20, 60, 149])
def test_a_file_that_stays_cut_off_is_told_to_be_incomplete_and_deleted(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"hidden_states": np.ones((2, 1, 64), dtype=np.float32), "token_ids": np.arange(2)}, path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(StatesUnreadable, match=f"is incomplete .{cut} bytes"):
        take_state(path, prompt_tokens=2, layer=0, layers=1, deadline=soon())
    assert not path.exists()


STATES = {"dtype": "F32", "shape": [1, 1, 4], "data_offsets": [0, 16]}
BF16 = {"dtype": "BF16", "shape": [1, 1, 4], "data_offsets": [0, 8]}
HELD = {"token_ids": {"dtype": "I64", "shape": [1], "data_offsets": [8, 16]}}
IDS = {"dtype": "I64", "shape": [1], "data_offsets": [16, 24]}


def test_the_header_that_the_others_are_changed_from_is_read(tmp_path: Path) -> None:
    path = raw(tmp_path / "a.safetensors", {"hidden_states": STATES, "token_ids": IDS}, bytes(24))
    assert take_state(path, prompt_tokens=1, layer=0, layers=1, deadline=soon()).tolist() == [0.0] * 4


@pytest.mark.parametrize(
    "header",
    [
        [],
        {"hidden_states": 7},
        {"hidden_states": {**STATES, "more": 1}, "token_ids": IDS},
        {"hidden_states": STATES},
        {"token_ids": {**IDS, "data_offsets": [0, 8]}},
        {"hidden_states": {**STATES, "dtype": "F64", "shape": [1, 1, 2]}, "token_ids": IDS},
        {"hidden_states": {**STATES, "dtype": "I32"}, "token_ids": IDS},
        {"hidden_states": {**STATES, "dtype": "F33"}, "token_ids": IDS},
        {"hidden_states": {**STATES, "shape": [1, 4]}, "token_ids": IDS},
        {"hidden_states": {**STATES, "shape": [1, 1, 3]}, "token_ids": IDS},
        {"hidden_states": {**STATES, "shape": [-1, -1, 4]}, "token_ids": IDS},
        {"hidden_states": {**STATES, "shape": [0, 1, 4], "data_offsets": [0, 0]}, "token_ids": IDS},
        {"hidden_states": {**STATES, "data_offsets": [-16, 0]}, "token_ids": IDS},
        {"hidden_states": {**STATES, "shape": [1.0, 1.0, 4.0]}, "token_ids": IDS},
        {"hidden_states": {**STATES, "shape": [True, 1, 4]}, "token_ids": IDS},
        {"hidden_states": {**STATES, "data_offsets": [0, float("inf")]}, "token_ids": IDS},
        {"hidden_states": {**STATES, "data_offsets": [0, 16, 24]}, "token_ids": IDS},
        {"hidden_states": {**STATES, "dtype": ["F32"]}, "token_ids": IDS},
        {"hidden_states": {**STATES, "data_offsets": [0, 16000]}, "token_ids": IDS},
        {"hidden_states": STATES, "token_ids": {**IDS, "data_offsets": [8, 16]}},  # overlaps
        {"hidden_states": STATES, "token_ids": {**IDS, "data_offsets": [0, 8]}},  # overlaps from the beginning
        {"hidden_states": STATES, "token_ids": {**IDS, "dtype": "I32", "data_offsets": [20, 24]}},  # a hole
        {"hidden_states": STATES, "token_ids": {**IDS, "dtype": "I32", "data_offsets": [16, 20]}},  # trailing bytes
        {"hidden_states": STATES, "token_ids": IDS, "__metadata__": {"a": 1}},
    ],
)
def test_a_corrupt_file_is_refused_and_deleted(tmp_path: Path, header: object) -> None:
    path = raw(tmp_path / "a.safetensors", header, bytes(24))
    with pytest.raises(StatesUnreadable):
        take_state(path, prompt_tokens=1, layer=0, layers=1, deadline=soon())
    assert not path.exists()


@pytest.mark.parametrize("twice", ['"hidden_states": %s, "hidden_states": %s', '"token_ids": %s, "hidden_states": %s'])
def test_a_name_given_twice_is_refused_whichever_twin_is_well_formed(tmp_path: Path, twice: str) -> None:
    entries = twice % (json.dumps(STATES), json.dumps(STATES))
    content = ("{" + entries + ', "token_ids": ' + json.dumps(IDS) + "}").encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(content).to_bytes(8, "little") + content + bytes(24))
    with pytest.raises(StatesUnreadable, match="given twice"):
        take_state(path, prompt_tokens=1, layer=0, layers=1, deadline=soon())
    assert not path.exists()


@pytest.mark.parametrize("beyond", [b"\0", b"{}", bytes(4096)])
def test_bytes_beyond_the_last_tensor_are_refused(tmp_path: Path, beyond: bytes) -> None:
    path = raw(tmp_path / "a.safetensors", {"hidden_states": STATES, "token_ids": IDS}, bytes(24) + beyond)
    with pytest.raises(StatesUnreadable, match="its header tells of"):
        take_state(path, prompt_tokens=1, layer=0, layers=1, deadline=soon())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_state_that_is_not_finite_is_refused(tmp_path: Path, value: float, dtype: type) -> None:
    states = np.zeros((3, 2, 4), dtype=dtype)
    states[2, 1, 3] = value
    path = tmp_path / "a.safetensors"
    save_file({"hidden_states": states, "token_ids": np.arange(3)}, path)
    with pytest.raises(StatesUnreadable, match="not finite"):
        take_state(path, prompt_tokens=3, layer=1, layers=2, deadline=soon())


def test_a_sum_with_the_residual_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    large = np.full((1, 1, 4), 3e38, dtype=np.float32)
    path = tmp_path / "a.safetensors"
    save_file({"hidden_states": large, "residual": large.copy(), "token_ids": np.arange(1)}, path)
    with pytest.raises(StatesUnreadable, match="not finite"):
        take_state(path, prompt_tokens=1, layer=0, layers=1, deadline=soon())


@pytest.mark.parametrize("content", [b"", b"\x01", b"\xff" * 64, (20).to_bytes(8, "little") + b"{" * 20])
def test_what_is_no_safetensors_file_is_refused_and_deleted(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(StatesUnreadable):
        take_state(path, prompt_tokens=1, layer=0, layers=1, deadline=soon())
    assert not path.exists()


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(StatesUnreadable, match="cannot be read"):
        take_state(tmp_path / "a.safetensors", prompt_tokens=1, layer=0, layers=1, deadline=soon())


def test_a_link_and_a_pipe_in_the_files_place_are_refused_and_deleted(tmp_path: Path) -> None:
    """A link would lead to another file; a pipe would be waited for, and nobody writes into it."""
    outside = tmp_path / "outside"
    save_file({"hidden_states": np.zeros((1, 1, 4), np.float32), "token_ids": np.zeros(1, np.int64)}, outside)
    path = tmp_path / "a.safetensors"
    path.symlink_to(outside)
    with pytest.raises(StatesUnreadable, match="cannot be read"):
        take_state(path, prompt_tokens=1, layer=0, layers=1, deadline=soon())
    os.mkfifo(path)
    with pytest.raises(StatesUnreadable, match="it is no file"):
        take_state(path, prompt_tokens=1, layer=0, layers=1, deadline=soon())
    assert [left.name for left in tmp_path.iterdir()] == ["outside"]
    os.mkfifo(path)
    assert discard_left_overs(tmp_path, older_than_s=-1.0) == 0

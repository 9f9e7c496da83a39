"""States that a training run extracts for itself: on disk, one batch in memory, gone
with the run.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knowgate._models.features import stored_vector
from knowgate.backends.loading import adopt
from tests.training.reading import states_of
from training.errors import ExtractionRefused, TrainingRefused
from training.extraction import Answerer
from training.extraction.batches import Batch
from training.extraction.results import States
from training.rows.own_states import own_states, scratch_folder

Make = Callable[..., Answerer]
PROMPTS = ["abc", "hello world", "q", "abc", "zz top", "q"]


@pytest.fixture
def answerer(model_of: Any, tokenizer_of_letters: Any) -> Make:
    """A small model of its own each time, read as asked."""
    return lambda **asked: Answerer(
        adopt(model_of("llama"), tokenizer_of_letters(), model="tiny", revision="1"), **asked
    )


def test_states_are_those_of_memory_in_the_order_of_the_prompts(answerer: Make, tmp_path: Path) -> None:
    two = answerer(layers=[1, 3], batch=2)
    rows = own_states(two, PROMPTS, tmp_path)
    assert rows.shape == (6, 2, states_of(two, ["q"]).hidden.shape[2])
    expected = states_of(two, PROMPTS).hidden
    for layer in range(2):
        read = rows.read(0, 6, layer)
        assert read.dtype == np.float16
        np.testing.assert_allclose(read, stored_vector(expected[:, layer]), rtol=2e-3, atol=2e-3)
        assert (read[0] == read[3]).all() and (read[2] == read[5]).all()
        assert (rows.take(np.array([4, 0])).read(0, 2, layer) == read[[4, 0]]).all()
        assert (rows.take(np.array([4, 0, 2])).take(np.array([2, 1])).read(0, 2, layer) == read[[2, 0]]).all()


def test_no_prompt_is_asked_twice_and_no_more_than_a_batch_is_in_memory(answerer: Make, tmp_path: Path) -> None:
    asked: list[int] = []

    class Counted(Answerer):
        def read_batch(self, batch: Batch) -> States:
            asked.append(len(batch.rows))
            return super().read_batch(batch)

    own_states(Counted(answerer().loaded, layers=[2], batch=3), PROMPTS, tmp_path)
    assert sum(asked) == 4 and max(asked) <= 3


def test_a_state_that_is_not_finite_is_named(answerer: Make, tmp_path: Path) -> None:
    broken = answerer(layers=[1])
    broken.loaded.network.get_input_embeddings().weight.data[:] = float("nan")
    with pytest.raises(ExtractionRefused, match="nan"):
        own_states(broken, PROMPTS, tmp_path)


def test_a_disk_without_room_is_told_before_anything_is_written(
    answerer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(TrainingRefused, match=r"need 0\.0 GB under .*No space left.*TMPDIR"):
        own_states(answerer(layers=[1]), PROMPTS, tmp_path)


def test_what_a_run_has_extracted_is_gone_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch_folder() as folder:
        (folder / "states.npy").write_bytes(b"1")
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(TrainingRefused, match="TMPDIR"), scratch_folder():
        pass

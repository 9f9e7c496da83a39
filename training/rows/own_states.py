"""States that a training run extracts for itself: written to a mapped file batch by batch, and gone
with the run.

Production ships one layer, and a black box none; a model in process can be asked for all its
layers, an encoder for what it makes of a prompt. Of many prompts and layers that is more than
memory holds, so memory holds one batch.
"""

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from knowgate._models.features import stored_vector
from training.errors import TrainingRefused
from training.extraction import Answerer
from training.rows.row_blocks import MappedBlocks


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for the time of a run, where TMPDIR says. Raises TrainingRefused where none can be
    made.
    """
    try:
        made = TemporaryDirectory(prefix="knowgate-states-", ignore_cleanup_errors=True)
    except OSError as error:
        raise TrainingRefused(f"no temporary folder can be made ({error}): let TMPDIR name one with room") from error
    with made as folder:
        yield Path(folder)


def own_states(answerer: Answerer, prompts: Sequence[str], folder: Path) -> MappedBlocks:
    """The states of all prompts, at least one, in their order; equal prompts are asked once.

    They lie in one file [layers, different prompts, d] float16 in `folder`, which must outlive what
    is returned. Raises TrainingRefused where there is no room, and what the answerer raises.
    """
    different, place = np.unique(np.array(prompts, dtype=object), return_inverse=True)
    stored_states: npt.NDArray[Any] | None = None
    path = folder / f"states-{uuid.uuid4().hex}.npy"
    for states in answerer.read(different.tolist()):
        n, layers, d = states.hidden.shape
        if stored_states is None:
            stored_states = _file(path, (layers, len(different), d))
        stored = stored_vector(states.hidden.reshape(n * layers, d)).reshape(n, layers, d)
        stored_states[:, list(states.rows)] = stored.transpose(1, 0, 2)
    return MappedBlocks(path=path, layer_first=True).take(place)


def _file(path: Path, shape: tuple[int, int, int]) -> npt.NDArray[Any]:
    """A mapped file whose room is taken now: were the disk to fill up later, whoever writes to it
    would be killed.
    """
    try:
        stored_states = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        raise TrainingRefused(
            f"states of (layers, prompts, numbers) {shape} need {2 * np.prod(shape) / 1e9:.1f} GB under {path.parent} "
            f"({error}): make room there, or name another folder (TMPDIR)"
        ) from error
    return stored_states

"""What an extraction engine is asked for: the parts of some prompts, in a folder of parts, wherever
they are computed.

Every engine goes through the same batches and calls `write_part` on them, so a part is the same
whoever wrote it, and a run that one engine began another may finish.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from knowgate._models.features import stored_vector
from training.extraction import Answerer
from training.extraction.batches import Batch
from training.extraction.extract_parts import PartFolder, Tensors
from training.extraction.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Prompts of which some are left to do."""

    prompts: Sequence[Sequence[int]]  # token ids
    rows: Sequence[int]  # the places of those that are left
    states_only: bool
    part_prompts: int  # in a part at least

    def tokens_of(self, rows: Iterable[int]) -> int:
        return sum(len(self.prompts[row]) for row in rows)


class ExtractionEngine(Protocol):
    """Writes the parts of all rows of `work` into `folder`, and tells `progress` of every bit."""

    def write_parts(self, answerer: Answerer, work: Work, folder: PartFolder, progress: Progress) -> None: ...


def parts_of(answerer: Answerer, work: Work, size: int) -> Iterator[list[Batch]]:
    """The batches of what is left, longest prompts first, `size` prompts or more at a time."""
    waiting: list[Batch] = []
    for batch in answerer.batches(work.prompts, rows=work.rows, states_only=work.states_only):
        waiting.append(batch)
        if sum(len(one.rows) for one in waiting) >= size:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def tensors_of(answerer: Answerer, batch: Batch, *, states_only: bool) -> Tensors:
    """What one batch got, as a part holds it. Raises ExtractionRefused."""
    rows = np.array(batch.rows, dtype=np.int64)
    if states_only:
        return {"rows": rows, "hidden": _stored(answerer.read_batch(batch).hidden)}
    answered = answerer.answer_batch(batch)
    margins = [one.margin for one in answered if one.margin is not None]  # of the likeliest option over the next one
    tensors: Tensors = {
        "rows": rows,
        "hidden": _stored(np.stack([one.hidden for one in answered])),
        "p_t": np.array([one.p_t for one in answered]),
        "entropy": np.array([one.entropy for one in answered]),
    }
    return tensors | ({"margin": np.array(margins)} if margins else {})


def write_part(
    answerer: Answerer,
    part: Iterable[Batch],
    folder: PartFolder,
    *,
    states_only: bool,
    tell: Callable[[Batch], object] = lambda _: None,
) -> None:
    """Write one part of these batches; `tell` hears of each. What came before a refused prompt is
    written too.

    Raises ExtractionRefused.
    """
    done: list[Tensors] = []
    try:
        for batch in part:
            done.append(tensors_of(answerer, batch, states_only=states_only))
            tell(batch)
    finally:
        if done:
            folder.write({name: np.concatenate([one[name] for one in done]) for name in done[0]})


def _stored(hidden: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """float16 [n, d], or [n, layers × positions, d] where there are several."""
    n, views, dimension = hidden.shape
    stored = stored_vector(hidden.reshape(n * views, dimension))
    return stored if views == 1 else stored.reshape(n, views, dimension)

"""The recording's long part: every prompt asked once, in parts that are kept as they are done.

In one process and on one thread (`reading`): answer, both kinds of P(T) and the states of the
candidate layers in one pass. What a prompt takes when it is asked alone, as a served one is, is
measured apart (`seconds`).
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.real_llm.asked.answers import Answers, joined, read_part, write_part
from benchmarks.real_llm.asked.reading import Reader
from knowgate.backends.loading import LoadedModel

PART = 80  # prompts

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """What is asked in one way: one form at one tier, or one data set."""

    name: str  # of the parts' files
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    layers: tuple[int, ...]  # to keep; none where no state is
    max_new_tokens: int


def asked(loaded: Callable[[], LoadedModel], prompts: Prompts, folder: Path) -> Answers:
    """The answers to all prompts; parts that lie in `folder` are not asked again, and the model is
    loaded only where one is missing.
    """
    return joined([ask_part(loaded, prompts, folder, start) for start in range(0, len(prompts.ids), PART)])


def ask_part(loaded: Callable[[], LoadedModel], prompts: Prompts, folder: Path, start: int) -> Answers:
    """The answers to one part of the prompts, which begins at `start`."""
    ids, texts = prompts.ids[start : start + PART], prompts.texts[start : start + PART]
    path = folder / f"{prompts.name}-{start:05d}.parquet"
    if path.is_file():
        kept = read_part(path)
        if kept.ids == ids:
            return kept
    began, used = time.perf_counter(), time.process_time()
    reader = Reader(loaded=loaded(), layers=prompts.layers, max_new_tokens=prompts.max_new_tokens)
    answers = reader.answers(ids, texts)
    write_part(answers, path)
    log.info(
        "%s: %d of %d, %.0f s of processor time in %.0f s",
        prompts.name,
        start + len(ids),
        len(prompts.ids),
        time.process_time() - used,
        time.perf_counter() - began,
    )
    return answers

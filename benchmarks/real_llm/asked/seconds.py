"""What one query takes in processor seconds when it is asked alone, as a served one is.

The back-end is the product's own in-process one (`knowgate.backends.transformers`). The seconds of
the prompt are those of a tier that a gate ends before it answers: it stops behind the probed layer
(`may_answer` says no). What an answer takes beyond that is the time of its generation. Processor
time of this process on one thread, so that what else a machine does counts little.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.real_llm.errors import RealModelError
from knowgate._records.arrays import FloatArray
from knowgate._records.observation import Observation
from knowgate._records.records import Fingerprint, PTKind
from knowgate.backends.loading import LoadedModel
from knowgate.backends.transformers import TransformersBackend

PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Taken:
    """Processor seconds of some prompts, each asked alone."""

    ids: tuple[str, ...]  # [n]
    read_s: FloatArray  # [n] of the prompt up to the probed layer; NaN = not asked for
    whole_s: FloatArray  # [n] of prompt and answer


def measured(
    loaded: LoadedModel, fingerprint: Fingerprint, ids: Sequence[str], prompts: Sequence[str], *, most_tokens: int
) -> Taken:
    """Both times of each prompt, in turn."""
    backend = TransformersBackend(
        loaded.network,
        loaded.tokenizer,
        model=loaded.model,
        fingerprint=fingerprint,
        max_new_tokens=most_tokens,
        p_t_kind=PTKind.MEAN,
    )
    _seconds(backend, prompts[0], None)  # what a first call prepares is no query's
    read = [_seconds(backend, prompt, _never) for prompt in prompts]
    whole = [_seconds(backend, prompt, None) for prompt in prompts]
    return Taken(ids=tuple(ids), read_s=np.array(read), whole_s=np.array(whole))


def _never(_: Observation) -> bool:
    return False


def _seconds(backend: TransformersBackend, prompt: str, may_answer: Callable[[Observation], bool] | None) -> float:
    began = time.process_time()
    reply = backend.ask([{"role": "user", "content": prompt}], timeout_s=PATIENCE_S, may_answer=may_answer)
    taken = time.process_time() - began
    if reply.skipped != (may_answer is not None):
        raise RealModelError("the back-end did not stop before the answer, or stopped where it was not to")
    return taken

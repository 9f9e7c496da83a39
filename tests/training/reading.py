"""What a model gives for a list of prompts, as arrays in their order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from knowgate._records.records import Fingerprint, PTKind
from training.extraction import Answerer, Prompt, States


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """n prompts; NaN = missing."""

    hidden: npt.NDArray[np.float32]  # [n, layers × positions, d]
    p_t: npt.NDArray[np.float64]
    entropy: npt.NDArray[np.float64]
    margin: npt.NDArray[np.float64]
    token_ids: npt.NDArray[np.int64]
    tokens_in: npt.NDArray[np.int64]
    texts: tuple[str, ...]
    fingerprints: tuple[Fingerprint, ...]
    p_t_kind: PTKind


def extracted(answerer: Answerer, prompts: Sequence[Prompt]) -> Extraction:
    """States, answers and signals."""
    answered = answerer.answer(prompts)
    return Extraction(
        hidden=np.stack([one.hidden for one in answered]),
        p_t=np.array([one.p_t for one in answered]),
        entropy=np.array([one.entropy for one in answered]),
        margin=np.array([np.nan if one.margin is None else one.margin for one in answered]),
        token_ids=np.array([one.token_id for one in answered]),
        tokens_in=np.array([one.tokens_in for one in answered]),
        texts=tuple(one.text for one in answered),
        fingerprints=answerer.fingerprints,
        p_t_kind=answerer.p_t_kind,
    )


def states_of(answerer: Answerer, prompts: Sequence[Prompt]) -> States:
    """States alone, in the order of the prompts."""
    read = list(answerer.read(prompts))
    order = np.argsort([row for some in read for row in some.rows])
    return States(
        rows=tuple(range(len(prompts))),
        hidden=np.concatenate([some.hidden for some in read])[order],
        tokens_in=np.concatenate([some.tokens_in for some in read])[order],
        fingerprints=answerer.fingerprints,
    )

"""What prompts got: hidden states, and answers with their signals."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from knowgate._records.records import Fingerprint, PTKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What one prompt got."""

    text: str
    token_id: int  # of the answer's first token
    p_t: float  # of the answerer's kind; NaN = missing
    entropy: float  # nats; over the options where given (NaN = missing), else over the vocabulary
    hidden: npt.NDArray[np.float32]  # [layers × positions, d], in the order of the answerer's fingerprints
    tokens_in: int
    tokens_out: int
    latency_ms: float  # of the batch that this prompt was in
    margin: float | None = None  # of the likeliest option over the next one (NaN = missing); None without options
    p_t_kind: PTKind = PTKind.FIRST_TOKEN
    other_p_t: Mapping[PTKind, float] = field(default_factory=dict)  # of the other kinds asked for; NaN = missing


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """Hidden states of some prompts."""

    rows: tuple[int, ...]  # their places in the list of prompts
    hidden: npt.NDArray[np.float32]  # [n, layers × positions, d]
    tokens_in: npt.NDArray[np.int64]  # [n]
    fingerprints: tuple[Fingerprint, ...]  # one per layer and position, layer by layer

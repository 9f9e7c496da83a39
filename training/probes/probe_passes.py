"""What the passes over the rows of linear probes are, and what they read and say."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor


class PassKind(StrEnum):
    STATISTICS = "statistics"
    CURVATURE = "curvature"
    DESCENT = "descent"
    VALIDATION = "validation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What the next epoch reads."""

    kind: PassKind
    layers: tuple[int, ...]


class RowBlock(NamedTuple):
    """Rows of one layer, as they come from the data module."""

    layer: int
    start: int  # the first row's place among the pass's rows
    x: Tensor  # [b, d] float16 or float32
    y: Tensor  # [b]
    weight: Tensor  # [b], of mean 1 over all rows


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerProbe:
    """A linear probe in terms of raw features: logit = weight · x + bias."""

    weight: Tensor  # [d] float64
    bias: float


def not_finite(block: RowBlock, which: str) -> str:
    """Which of the fit or validation rows cannot be used."""
    bad = (~torch.isfinite(block.x.float())).any(1).nonzero()[:, 0]
    row = f"row {block.start + int(bad[0])}" if len(bad) else "a row"
    return f"{row} of the {which} rows is not finite at layer {block.layer}: leave it out, or extract it again"

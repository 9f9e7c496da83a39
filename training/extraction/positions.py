"""Which tokens of a prompt a hidden state is read at.

Decisions:
- The default is the last prompt token: the answer's first token is decided there, and P(IK) was
  defined there (Kadavath et al. 2022). `last_prompt_token-K` is K tokens before it, `first_token`
  the first one (CLS of a BERT-like encoder), `mean_of_prompt` the mean over all tokens of the
  prompt, padding left out.
- The name is the fingerprint's `position`, so vectors of different tokens never meet.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from knowgate.backends.protocol import LAST_PROMPT_TOKEN, MEAN_OF_PROMPT
from training.errors import ExtractionRefused
from training.extraction.batches import Batch

LAST = LAST_PROMPT_TOKEN
FIRST = "first_token"
MEAN = MEAN_OF_PROMPT
_BEFORE_LAST = re.compile(rf"{LAST}-([1-9]\d{{0,5}})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """One place, or the mean over all of them."""

    name: str
    before_last: int | None  # tokens before the last one; None = counted otherwise

    @property
    def shortest(self) -> int:
        """The fewest tokens that a prompt needs to have this place."""
        return 1 if self.before_last is None else self.before_last + 1

    def read(self, hidden: Tensor, batch: Batch) -> Tensor:
        """[batch, d] of the states [batch, tokens, d] at this place."""
        if self.name == MEAN:
            mask = batch.attention_mask.to(hidden.device)[..., None]
            total = torch.where(mask.bool(), hidden, 0).sum(1, dtype=torch.float32)
            return (total / mask.sum(1)).to(hidden.dtype)
        at = self.at(batch).to(hidden.device)
        return hidden[torch.arange(len(at), device=hidden.device), at]

    def at(self, batch: Batch) -> Tensor:
        """int64 [batch]: where this place is; not for the mean."""
        return batch.last - (batch.lengths - 1 if self.before_last is None else self.before_last)


def named_positions(names: Sequence[str]) -> tuple[Position, ...]:
    """The places of these names, each once. Raises ExtractionRefused for an unknown
    name or none.
    """
    if not names:
        raise ExtractionRefused(f"positions is empty: give at least one, e.g. {LAST}")
    return tuple(_position(name) for name in dict.fromkeys(names))


def _position(name: str) -> Position:
    if name in (FIRST, MEAN):
        return Position(name=name, before_last=None)
    if name == LAST:
        return Position(name=name, before_last=0)
    match = _BEFORE_LAST.fullmatch(name)
    if match is None:
        raise ExtractionRefused(f"position is {name!r}: give {LAST}, {LAST}-K, {FIRST} or {MEAN}")
    return Position(name=name, before_last=int(match[1]))

"""Prompts to padded batches: sorted by length, so that little is computed on padding.

Padding is done here from token ids, on the side that the tokenizer asks for. Positions count from the first real
token, so that an answer does not depend on its neighbours in the batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Padded prompts of similar length."""

    rows: tuple[int, ...]  # their places in the caller's list
    input_ids: Tensor  # int64 [batch, tokens]
    attention_mask: Tensor  # int64 [batch, tokens]
    position_ids: Tensor  # int64 [batch, tokens]; 0 under the padding
    last: Tensor  # int64 [batch]: where each prompt's last token stands


def batches(token_ids: Sequence[Sequence[int]], *, size: int, pad_id: int, left: bool) -> Iterator[Batch]:
    """Batches of at most `size` prompts, longest first (so that too large a batch fails at once)."""
    order = sorted(range(len(token_ids)), key=lambda row: (-len(token_ids[row]), row))
    for start in range(0, len(order), size):
        rows = tuple(order[start : start + size])
        yield _pad(rows, [token_ids[row] for row in rows], pad_id, left)


def _pad(rows: tuple[int, ...], prompts: list[Sequence[int]], pad_id: int, left: bool) -> Batch:
    width = max(len(prompt) for prompt in prompts)
    input_ids = torch.full((len(prompts), width), pad_id, dtype=torch.long)
    mask = torch.zeros_like(input_ids)
    for at, prompt in enumerate(prompts):
        place = slice(width - len(prompt), width) if left else slice(0, len(prompt))
        input_ids[at, place] = torch.tensor(prompt, dtype=torch.long)
        mask[at, place] = 1
    lengths = mask.sum(-1)
    last = torch.full_like(lengths, width - 1) if left else lengths - 1
    positions = (mask.cumsum(-1) - 1).clamp(min=0) * mask
    return Batch(rows=rows, input_ids=input_ids, attention_mask=mask, position_ids=positions, last=last)

"""Prompts to padded batches: sorted by length and cut by a budget of tokens, so that little is
computed on padding.

Decisions:
- A batch holds as many prompts as fit the budget once padded: memory is bounded by it whatever the
  lengths are, and short prompts come many at a time. A single prompt over the budget is a batch of
  its own.
- A batch that is at least half full is closed early where the next prompt would leave a tenth of
  its row as padding.
- Longest first, so that a budget that does not fit the memory fails at once and not after hours.
- Padding is done here from token ids, so the tokenizer needs no pad token. Positions count from the
  first real token, so that an answer does not depend on its neighbours in the batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.errors import ExtractionRefused

_SHORTEST_SHARE = 0.9  # of the longest prompt's tokens, in a batch that is half full


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Padded prompts of similar length."""

    rows: tuple[int, ...]  # their places in the caller's list
    input_ids: Tensor  # int64 [batch, tokens]
    attention_mask: Tensor  # int64 [batch, tokens]
    position_ids: Tensor  # int64 [batch, tokens]; 0 under the padding
    lengths: Tensor  # int64 [batch]: the tokens of each prompt
    last: Tensor  # int64 [batch]: where each prompt's last token stands
    left: bool  # whether the padding comes first

    @property
    def tokens(self) -> int:
        """The tokens of the prompts, padding left out."""
        return int(self.lengths.sum())

    @property
    def padded(self) -> bool:
        return self.tokens < self.input_ids.numel()


def batches(
    token_ids: Sequence[Sequence[int]],
    *,
    tokens: int,
    size: int | None = None,
    rows: Sequence[int] | None = None,
    pad_id: int,
    left: bool,
) -> Iterator[Batch]:
    """Batches of at most `tokens` padded tokens and `size` prompts (None = any number), longest
    first.

    `rows` names the prompts that are wanted; None = all.

    Raises ExtractionRefused for a budget or a size below 1.
    """
    for name, value in (("tokens per batch", tokens), ("prompts per batch", size)):
        if value is not None and value < 1:
            raise ExtractionRefused(f"{name} is {value}: give 1 or more")
    order = sorted(range(len(token_ids)) if rows is None else rows, key=lambda row: (-len(token_ids[row]), row))
    start = 0
    while start < len(order):
        longest = len(token_ids[order[start]])
        most = max(1, tokens // longest)
        most = most if size is None else min(most, size)
        end = start + 1
        while end < len(order) and end - start < most:
            half_full = 2 * (end - start) >= most
            if half_full and len(token_ids[order[end]]) < _SHORTEST_SHARE * longest:
                break
            end += 1
        chosen = tuple(order[start:end])
        yield pad(chosen, [token_ids[row] for row in chosen], pad_id, left)
        start = end


def pad(rows: tuple[int, ...], prompts: Sequence[Sequence[int]], pad_id: int, left: bool) -> Batch:
    """One batch of these token ids, padded to the longest."""
    width = max(len(prompt) for prompt in prompts)
    input_ids = torch.full((len(prompts), width), pad_id, dtype=torch.long)
    mask = torch.zeros_like(input_ids)
    for at, prompt in enumerate(prompts):
        place = slice(width - len(prompt), width) if left else slice(0, len(prompt))
        input_ids[at, place] = torch.tensor(prompt, dtype=torch.long)
        mask[at, place] = 1
    lengths = mask.sum(-1)
    last = torch.full_like(lengths, width - 1) if left else lengths - 1
    position_ids = (mask.cumsum(-1) - 1).clamp(min=0) * mask
    return Batch(
        rows=rows,
        input_ids=input_ids,
        attention_mask=mask,
        position_ids=position_ids,
        lengths=lengths,
        last=last,
        left=left,
    )

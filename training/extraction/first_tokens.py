"""The first token of each answer, chosen from the logits at the prompts' ends, and what is read of
it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from knowgate.backends.written import Spellings


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstTokens:
    """The first tokens of the answers to one batch."""

    chosen: Tensor  # [batch]
    log_p: Tensor  # [batch], of the chosen
    entropy: Tensor | None  # [batch] nats, over the vocabulary; None with options
    listed: list[list[float]]  # [batch][tokens that spell options] log-probabilities


def first_tokens(logits: Tensor, spellings: Spellings | None) -> FirstTokens:
    """The likeliest token of each row of `logits` [batch, vocabulary]; with options, that of the
    likeliest of them.
    """
    log_p = logits.log_softmax(-1)
    entropy: Tensor | None = None
    if spellings is None:
        chosen = log_p.argmax(-1)
        terms = torch.where(log_p > -math.inf, log_p.exp() * log_p, 0.0)
        entropy = (-terms.sum(-1)).clamp(min=0.0)
        listed: list[list[float]] = [[] for _ in range(len(log_p))]
    else:
        sums = torch.stack([log_p[:, tokens].logsumexp(-1) for tokens in spellings.of], dim=1)
        chosen = torch.tensor(spellings.own)[sums.argmax(-1)]
        listed = log_p[:, list(spellings.tokens)].tolist()
    return FirstTokens(chosen=chosen, log_p=log_p.gather(1, chosen[:, None])[:, 0], entropy=entropy, listed=listed)


def or_nan(value: float | None) -> float:
    """Arrays hold NaN where a signal is missing."""
    return math.nan if value is None else value

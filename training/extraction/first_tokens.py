"""The first token of each answer, chosen from the logits at the prompts' ends, and what is read of
it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from knowgate.backends.written import Spellings
from training.errors import ExtractionRefused
from training.extraction.loading import LoadedModel


def option_token_ids(loaded: LoadedModel, options: Sequence[str]) -> list[int]:
    """The token of each allowed answer. Raises ExtractionRefused unless each is one token, and all
    differ.
    """
    tokens = [loaded.tokenizer(option, add_special_tokens=False)["input_ids"] for option in options]
    for option, token in zip(options, tokens, strict=True):
        if len(token) != 1:
            raise ExtractionRefused(f"option {option!r} is {len(token)} tokens of {loaded.model}: one is expected")
    ids = [int(token[0]) for token in tokens]
    if len(set(ids)) != len(ids) or len(ids) < 2:
        raise ExtractionRefused(f"options {list(options)} are tokens {ids}: give at least two that differ")
    return ids


def spellings_of(loaded: LoadedModel, options: Sequence[str], own: Sequence[int]) -> Spellings:
    """The tokens that spell the options, of which `own` are the tokenizer's."""
    size = loaded.network.get_input_embeddings().num_embeddings
    return Spellings(loaded.tokenizer, options, own, size=size)


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

"""Greedy answers of a model in this process: the likeliest token each time, whatever its folder
asks for.

A model's own generation settings (beams, penalties, forbidden repetitions, least lengths) change
which token is chosen and how likely it was, while P(T) is the probability of the likeliest. They
are set aside while an answer is written. What ends an answer is the model's own business and is
kept: its settings and its tokenizer may name different tokens.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from transformers import GenerationConfig, LogitsProcessorList


def ends_of(network: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer."""
    ends = network.generation_config.eos_token_id
    named = [tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])]
    return frozenset(end for end in named if end is not None)


def processors(*some: Callable[[Any, Any], Any]) -> Any:
    """Logits processors, in the form that `generate` takes."""
    return LogitsProcessorList(some)


@contextmanager
def greedy(network: Any, tokenizer: Any) -> Iterator[None]:
    """While open, `network.generate` writes greedily; the caller has the network to itself."""
    own = network.generation_config
    network.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=sorted(ends_of(network, tokenizer)) or None,
        pad_token_id=own.pad_token_id,
        bos_token_id=own.bos_token_id,
        cache_implementation=own.cache_implementation,
    )
    try:
        yield
    finally:
        network.generation_config = own

"""From prompts to token ids, checked before any of them costs a pass.

A prompt is text, or token ids as they are. One that cannot be asked (no tokens, more than the
model's context, too short for a wanted position) is refused with its index before the first batch,
and never cut: a vector of a cut prompt would look like any other.
"""

from collections.abc import Sequence
from typing import Any

from knowgate.backends.loading import through_template
from training.errors import ExtractionRefused
from training.extraction.loading import LoadedModel

Prompt = str | Sequence[int]
_ENDLESS = 10**9  # tokenizers without a limit name a huge one


def token_ids(
    loaded: LoadedModel, prompts: Sequence[Prompt], *, shortest: int = 1, written: int = 0
) -> list[list[int]]:
    """The token ids of each prompt. Raises ExtractionRefused for the first prompt that cannot be
    asked.

    `shortest`: the fewest tokens a wanted position needs; `written`: tokens of the answer that the
    context also holds.
    """
    texts = [at for at, prompt in enumerate(prompts) if isinstance(prompt, str)]
    tokens = [[] if isinstance(prompt, str) else [int(token) for token in prompt] for prompt in prompts]
    for at, found in zip(texts, _encode(loaded, [str(prompts[at]) for at in texts]), strict=True):
        tokens[at] = found
    longest = context(loaded)
    vocabulary = loaded.network.get_input_embeddings().num_embeddings
    for at, found in enumerate(tokens):
        if not found:
            raise ExtractionRefused(f"prompt {at} ({prompts[at]!r}) has no tokens: leave empty prompts out", row=at)
        if longest is not None and len(found) + written > longest:
            answer = f" and an answer of up to {written} more" if written else ""
            raise ExtractionRefused(
                f"prompt {at} has {len(found)} tokens{answer}, the context of {loaded.model} holds {longest}: shorten "
                "the prompt or leave it out; it is not cut, since its hidden state would be another prompt's",
                row=at,
            )
        if len(found) < shortest:
            raise ExtractionRefused(
                f"prompt {at} has {len(found)} tokens, the wanted positions need {shortest}: leave it out, or read a "
                "position nearer to the last token",
                row=at,
            )
        if min(found) < 0 or max(found) >= vocabulary:
            raise ExtractionRefused(
                f"prompt {at} has token {max(found, key=abs)}, {loaded.model} has embeddings for 0 to "
                f"{vocabulary - 1}: use the model's own tokenizer",
                row=at,
            )
    return tokens


def context(loaded: LoadedModel) -> int | None:
    """The most tokens a prompt may have; None where neither the model nor its tokenizer has a
    limit.
    """
    config = loaded.network.config
    text: Any = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    limits = [getattr(text, "max_position_embeddings", None), getattr(loaded.tokenizer, "model_max_length", None)]
    known = [int(limit) for limit in limits if limit is not None and 0 < limit < _ENDLESS]
    return min(known, default=None)


def pad_id(loaded: LoadedModel) -> int:
    """What padding is filled with: never seen through the mask, so a tokenizer without a pad token
    is as good.
    """
    for token in (loaded.tokenizer.pad_token_id, loaded.tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0


def _encode(loaded: LoadedModel, texts: list[str]) -> list[list[int]]:
    if not texts:
        return []
    if loaded.chat:
        asked = [[{"role": "user", "content": text}] for text in texts]
        texts = [through_template(loaded.tokenizer, messages, loaded.template) for messages in asked]
    encoded = loaded.tokenizer(texts, add_special_tokens=not loaded.chat, verbose=False)["input_ids"]
    return [list(found) for found in encoded]

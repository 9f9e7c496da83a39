"""From prompts to token ids, checked before any of them costs a pass.

A prompt is text, or token ids as they are. One that cannot be asked (no tokens, more than the
model's context, too short for a wanted position) is refused with its index before the first batch,
and never cut: a vector of a cut prompt would look like any other.
"""

from collections.abc import Sequence

from knowgate.backends.loading import LoadedModel
from training.errors import ExtractionRefused

Prompt = str | Sequence[int]


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
    asked = [loaded.prompt([{"role": "user", "content": str(prompts[at])}]) for at in texts]
    for at, ids in zip(texts, loaded.tokens_of(asked), strict=True):
        tokens[at] = ids
    longest, vocabulary = loaded.context, loaded.vocabulary
    for at, ids in enumerate(tokens):
        if not ids:
            raise ExtractionRefused(f"prompt {at} ({prompts[at]!r}) has no tokens: leave empty prompts out", row=at)
        if longest is not None and len(ids) + written > longest:
            answer = f" and an answer of up to {written} more" if written else ""
            raise ExtractionRefused(
                f"prompt {at} has {len(ids)} tokens{answer}, the context of {loaded.model} holds {longest}: shorten "
                "the prompt or leave it out; it is not cut, since its hidden state would be another prompt's",
                row=at,
            )
        if len(ids) < shortest:
            raise ExtractionRefused(
                f"prompt {at} has {len(ids)} tokens, the wanted positions need {shortest}: leave it out, or read a "
                "position nearer to the last token",
                row=at,
            )
        if min(ids) < 0 or max(ids) >= vocabulary:
            raise ExtractionRefused(
                f"prompt {at} has token {max(ids, key=abs)}, {loaded.model} has embeddings for 0 to "
                f"{vocabulary - 1}: use the model's own tokenizer",
                row=at,
            )
    return tokens

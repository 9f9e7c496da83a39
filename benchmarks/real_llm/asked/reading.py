"""Many prompts that begin alike, answered in batches in one pass each: what they share is read
once.

Two thirds of each prompt are the examples, so this takes a third of the time that
`training.extraction.Answerer` takes on the same prompts. How models are loaded and watched, what is
greedy, how a token's probability is gathered and how P(T) is read of the tokens is the product's; a
test holds both against each other.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.real_llm.asked.answers import Answers
from knowgate._models.features import stored_vector
from knowgate._records.records import PTKind
from knowgate.backends._text.alignment import Ended
from knowgate.backends._text.answer_tokens import read_signals
from knowgate.backends.blocks import watching
from knowgate.backends.greedy import ends_of, greedy
from knowgate.backends.loading import LoadedModel
from knowgate.backends.protocol import Finish
from knowgate.backends.written import decoder, written_tokens
from training.extraction.written import gathered

BATCH = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A model, the layers whose states at the last prompt token are kept, and how long answers
    are.
    """

    loaded: LoadedModel
    layers: tuple[int, ...]  # none where no state is wanted
    max_new_tokens: int

    def answers(self, ids: Sequence[str], prompts: Sequence[str]) -> Answers:
        """The answers to all prompts, in their order; `ids` are the questions'."""
        tokens = self.loaded.tokens_of([self.loaded.prompt([{"role": "user", "content": one}]) for one in prompts])
        shared = _shared(tokens)
        order = sorted(range(len(tokens)), key=lambda at: len(tokens[at]))
        said: dict[int, _Said] = {}
        with torch.inference_mode(), self.loaded.lock:
            cache = self.loaded.network(torch.tensor([tokens[0][:shared]]), use_cache=True).past_key_values
            for start in range(0, len(order), BATCH):
                rows = order[start : start + BATCH]
                said |= dict(zip(rows, self._batch([tokens[row] for row in rows], shared, cache), strict=True))
        answers = [said[at] for at in range(len(tokens))]
        return Answers(
            ids=tuple(ids),
            texts=tuple(one.text.strip() for one in answers),
            p_t_first=np.array([one.p_t[PTKind.FIRST_TOKEN] for one in answers]),
            p_t_mean=np.array([one.p_t[PTKind.MEAN] for one in answers]),
            entropy=np.array([one.entropy for one in answers]),
            tokens_in=np.array([float(len(one)) for one in tokens]),
            tokens_out=np.array([float(one.tokens_out) for one in answers]),
            hidden=np.stack([stored_vector(one.hidden) for one in answers])
            if self.layers
            else np.empty((len(answers), 0, 0), dtype=np.float16),
        )

    def _batch(self, tokens: Sequence[Sequence[int]], shared: int, cache: Any) -> Iterator["_Said"]:
        network, tokenizer = self.loaded.network, self.loaded.tokenizer
        width = max(len(one) for one in tokens)
        given, mask = _padded(tokens, shared, width, self.loaded.pad_id)
        own = copy.deepcopy(cache)
        own.batch_repeat_interleave(len(tokens))
        steps: list[Tensor] = []
        first: list[Tensor] = []
        states: dict[int, Tensor] = {}

        def keep(layer: int, hidden: Tensor) -> None:
            states.setdefault(layer, hidden[:, -1].float())

        def entropy(_: Any, __: Any, output: Any) -> None:
            if not first:
                first.append(torch.special.entr(output.logits[:, -1].float().softmax(-1)).sum(-1))

        handle = network.register_forward_hook(entropy)
        try:
            with watching(network, self.layers, keep), greedy(network, tokenizer), gathered(network, steps) as more:
                written = network.generate(
                    input_ids=given,
                    attention_mask=mask,
                    past_key_values=own,
                    max_new_tokens=self.max_new_tokens,
                    pad_token_id=self.loaded.pad_id,
                    **more,
                )[:, width:]
        finally:
            handle.remove()
        numbers = torch.stack(steps, dim=1).tolist()
        for at, row in enumerate(written.tolist()):
            hidden = torch.stack([states[layer][at] for layer in self.layers]).numpy() if self.layers else None
            yield self._said(row, numbers[at], float(first[0][at]), hidden)

    def _said(self, row: list[int], numbers: list[float], entropy: float, hidden: Any) -> "_Said":
        ends = ends_of(self.loaded.network, self.loaded.tokenizer)
        ids = row[: next((at + 1 for at, token in enumerate(row) if token in ends), len(row))]
        decode = decoder(self.loaded.tokenizer)
        text = decode(ids)
        listed = written_tokens(decode, ids, numbers[: len(ids)], None)
        ended = Ended(finish=Finish.STOP if ids[-1] in ends else Finish.LENGTH, within=False)
        p_t = {}
        for kind in (PTKind.FIRST_TOKEN, PTKind.MEAN):
            signals = read_signals(listed, text, kind=kind, options=(), ended=ended, notes=[])
            p_t[kind] = np.nan if signals is None or signals.p_t is None else signals.p_t
        return _Said(text=text, p_t=p_t, entropy=entropy, tokens_out=len(ids), hidden=hidden)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Said:
    text: str
    p_t: dict[PTKind, float]
    entropy: float
    tokens_out: int
    hidden: Any  # [layers, d], None where no state is kept


def _shared(tokens: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with; each keeps one of its own."""
    least = min(len(one) for one in tokens) - 1
    first = tokens[0]
    return next((at for at in range(least) if any(one[at] != first[at] for one in tokens)), least)


def _padded(tokens: Sequence[Sequence[int]], shared: int, width: int, pad_id: int) -> tuple[Tensor, Tensor]:
    """Ids and mask [batch, width], with the padding behind what is shared."""
    ids = torch.full((len(tokens), width), pad_id, dtype=torch.long)
    mask = torch.ones_like(ids)
    for at, one in enumerate(tokens):
        padding = width - len(one)
        ids[at, :shared] = torch.tensor(one[:shared])
        ids[at, shared + padding :] = torch.tensor(one[shared:])
        mask[at, shared : shared + padding] = 0
    return ids, mask

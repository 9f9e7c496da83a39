"""Ask a model and read it in the same pass: answer, P(T), option entropy and hidden states.

Decisions:
- Everything is read at the last prompt token, where the answer's first token is decided and where P(IK) was defined
  (Kadavath et al. 2022). Hooks keep one vector per prompt and layer, never the states of all tokens.
- With option tokens the answer is the likeliest option and the entropy that of the options among themselves; P(T) is
  the chosen token's probability over the whole vocabulary either way, as an API would report it.
- Longer answers are continued greedily in a second call; the signals stay those of the first token.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from knowgate.records import Fingerprint
from training.errors import ExtractionRefused
from training.extraction.batches import Batch, batches
from training.extraction.loading import LoadedModel
from training.extraction.structure import final_norm, watched


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What one prompt got."""

    text: str
    token_id: int  # of the answer's first token
    p_t: float  # that token's probability
    entropy: float  # nats; over the options where given, else over the vocabulary
    hidden: npt.NDArray[np.float32]  # [layers, d], in the order of the answerer's layers
    tokens_in: int
    tokens_out: int
    latency_ms: float  # of the batch that this prompt was in


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """What a list of prompts got, as arrays in the order of the prompts."""

    hidden: npt.NDArray[np.float32]  # [n, layers, d]
    p_t: npt.NDArray[np.float64]  # [n]
    entropy: npt.NDArray[np.float64]  # [n]
    token_ids: npt.NDArray[np.int64]  # [n]
    tokens_in: npt.NDArray[np.int64]  # [n]
    texts: tuple[str, ...]
    fingerprints: tuple[Fingerprint, ...]  # one per layer


class Answerer:
    """A model together with what is read of it.

    Arguments: `layers` to keep (None = all, embedding output included), `options` = the texts of the allowed answers
    (each one token), `batch` prompts at a time, `normed` = apply the final norm to the kept states, `max_new_tokens`
    of an answer. Raises ExtractionRefused for a layer or option that the model does not have.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        layers: Sequence[int] | None = None,
        options: Sequence[str] | None = None,
        batch: int = 32,
        normed: bool = False,
        max_new_tokens: int = 1,
    ) -> None:
        self.loaded = loaded
        self.layers = tuple(range(loaded.layers + 1)) if layers is None else tuple(sorted(set(layers)))
        self.fingerprints = tuple(loaded.fingerprint(layer, normed=normed) for layer in self.layers)
        self._options = None if options is None else torch.tensor(option_token_ids(loaded, options))
        self._batch = batch
        self._norm = final_norm(loaded.network) if normed else None
        self._max_new_tokens = max_new_tokens

    def answer(self, prompts: Sequence[str], *, progress: Callable[[int], object] = lambda _: None) -> list[Answered]:
        """Answer each prompt; `progress` is told the number of prompts after every batch."""
        tokens = [self._tokens(prompt) for prompt in prompts]
        answered: list[Answered | None] = [None] * len(prompts)
        left = self.loaded.tokenizer.padding_side == "left" or self._max_new_tokens > 1
        for batch in batches(tokens, size=self._batch, pad_id=self._pad_id(), left=left):
            for row, one in zip(batch.rows, self._answer_batch(batch), strict=True):
                answered[row] = one
            progress(len(batch.rows))
        return [one for one in answered if one is not None]

    def extract(self, prompts: Sequence[str], *, progress: Callable[[int], object] = lambda _: None) -> Extraction:
        """As `answer`, as arrays. Raises ExtractionRefused without prompts."""
        if not prompts:
            raise ExtractionRefused("prompts is empty: give at least one prompt")
        answered = self.answer(prompts, progress=progress)
        return Extraction(
            hidden=np.stack([one.hidden for one in answered]),
            p_t=np.array([one.p_t for one in answered]),
            entropy=np.array([one.entropy for one in answered]),
            token_ids=np.array([one.token_id for one in answered], dtype=np.int64),
            tokens_in=np.array([one.tokens_in for one in answered], dtype=np.int64),
            texts=tuple(one.text for one in answered),
            fingerprints=self.fingerprints,
        )

    @torch.inference_mode()
    def _answer_batch(self, batch: Batch) -> list[Answered]:
        began = time.perf_counter()
        seen: dict[int, Tensor] = {}
        rows = torch.arange(len(batch.rows))

        def keep(layer: int, hidden: Tensor) -> None:
            seen[layer] = hidden[rows, batch.last.to(hidden.device)]

        with watched(self.loaded.network, self.layers, keep):
            logits = self._logits(batch)
        states = torch.stack([seen[layer] for layer in self.layers], dim=1)  # [batch, layers, d]
        if self._norm is not None:
            states = self._norm(states)
        chosen, p_t, entropy = _read_logits(logits, self._options)
        texts, tokens_out = self._texts(batch, chosen)
        hidden = states.float().cpu().numpy()
        if not np.isfinite(hidden).all():
            raise ExtractionRefused(f"{self.loaded.model} gave hidden states that are not finite: load it in float32")
        latency_ms = (time.perf_counter() - began) * 1e3
        return [
            Answered(
                text=texts[at],
                token_id=int(chosen[at]),
                p_t=float(p_t[at]),
                entropy=float(entropy[at]),
                hidden=hidden[at],
                tokens_in=int(batch.attention_mask[at].sum()),
                tokens_out=tokens_out[at],
                latency_ms=latency_ms,
            )
            for at in range(len(batch.rows))
        ]

    def _logits(self, batch: Batch) -> Tensor:
        """The next-token logits of each prompt, float32 [batch, vocabulary]."""
        device = self.loaded.network.device
        places, at = torch.unique(batch.last, return_inverse=True)
        inputs: dict[str, Tensor | bool] = {
            "input_ids": batch.input_ids.to(device),
            "attention_mask": batch.attention_mask.to(device),
        }
        if "position_ids" in self.loaded.accepts:
            inputs["position_ids"] = batch.position_ids.to(device)
        if "use_cache" in self.loaded.accepts:
            inputs["use_cache"] = False
        if "logits_to_keep" in self.loaded.accepts:  # the output head runs on the last tokens alone
            inputs["logits_to_keep"] = places.to(device)
        else:
            at = batch.last
        logits: Tensor = self.loaded.network(**inputs).logits
        return logits.cpu()[torch.arange(len(batch.rows)), at].float()

    def _texts(self, batch: Batch, chosen: Tensor) -> tuple[list[str], list[int]]:
        tokenizer = self.loaded.tokenizer
        if self._max_new_tokens == 1:
            return tokenizer.batch_decode(chosen[:, None], skip_special_tokens=True), [1] * len(chosen)
        device = self.loaded.network.device
        ids = torch.cat([batch.input_ids, chosen[:, None]], dim=1).to(device)
        mask = torch.cat([batch.attention_mask, torch.ones_like(chosen)[:, None]], dim=1).to(device)
        written = self.loaded.network.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=self._max_new_tokens - 1,
            do_sample=False,
            pad_token_id=self._pad_id(),
        )[:, batch.input_ids.shape[1] :].cpu()
        ends = tokenizer.eos_token_id
        counts = [_until(row.tolist(), ends) for row in written]
        texts = [
            tokenizer.decode(row[:count], skip_special_tokens=True) for row, count in zip(written, counts, strict=True)
        ]
        return texts, counts

    def _tokens(self, prompt: str) -> list[int]:
        tokenizer = self.loaded.tokenizer
        if self.loaded.chat:
            prompt = tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
            )
        tokens: list[int] = tokenizer(prompt, add_special_tokens=not self.loaded.chat)["input_ids"]
        if not tokens:
            raise ExtractionRefused(f"prompt {prompt!r} has no tokens: leave empty prompts out")
        return tokens

    def _pad_id(self) -> int:
        tokenizer = self.loaded.tokenizer
        for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        return 0  # hidden by the attention mask, so any token will do


def option_token_ids(loaded: LoadedModel, options: Sequence[str]) -> list[int]:
    """The token of each allowed answer. Raises ExtractionRefused unless each is one token, and all differ."""
    tokens = [loaded.tokenizer(option, add_special_tokens=False)["input_ids"] for option in options]
    for option, token in zip(options, tokens, strict=True):
        if len(token) != 1:
            raise ExtractionRefused(f"option {option!r} is {len(token)} tokens of {loaded.model}: one is expected")
    ids = [int(token[0]) for token in tokens]
    if len(set(ids)) != len(ids) or len(ids) < 2:
        raise ExtractionRefused(f"options {list(options)} are tokens {ids}: give at least two that differ")
    return ids


def _read_logits(logits: Tensor, options: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The chosen token, its probability and the entropy in nats, each [batch]."""
    log_p = logits.log_softmax(-1)
    if options is None:
        chosen, among = log_p.argmax(-1), log_p
    else:
        among = log_p[:, options].log_softmax(-1)
        chosen = options[among.argmax(-1)]
    terms = torch.where(among > -math.inf, among.exp() * among, 0.0)
    p_t = log_p.gather(1, chosen[:, None])[:, 0].exp()
    return chosen, p_t.clamp(max=1.0), (-terms.sum(-1)).clamp(min=0.0)


def _until(tokens: list[int], end: int | None) -> int:
    """How many tokens an answer has: up to and with the end token."""
    return tokens.index(end) + 1 if end is not None and end in tokens else len(tokens)

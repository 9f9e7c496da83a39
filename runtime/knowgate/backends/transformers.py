"""A Hugging Face causal model in this very process (extra `transformers`): for small tiers, batch
work and tests.

One `generate` call answers; a hook on the wanted block keeps the state at the last prompt token, so
the vector is what training reads: what leaves block n, before the final norm. The fingerprint comes
from outside, usually from the bundle, and is held against the model that was loaded: another dtype,
template or library version is refused when the back-end is made, not when its vectors have long
been wrong. With `options` the answer's first token is the likeliest of them, as in training. P(T),
entropy and margin are read as they are at an endpoint (`answer_tokens`).
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from knowgate._records.arrays import Float32Array
from knowgate._records.observation import Observation
from knowgate._records.options import option_of
from knowgate._records.records import Fingerprint, PTKind
from knowgate.backends._text.alignment import Ended
from knowgate.backends._text.answer_tokens import NOT_ALIGNED, read_signals
from knowgate.backends._text.reasoning import answer_of
from knowgate.backends.blocks import ENOUGH, watching
from knowgate.backends.greedy import ends_of, greedy, processors
from knowgate.backends.loading import LoadedModel, adopt
from knowgate.backends.protocol import Finish, MayAnswer, Message, Reply, require_engine, require_kind
from knowgate.backends.written import LikeliestOption, decoder, ends_in_thought, spellings_of, written_tokens
from knowgate.errors import BackendFailed, Failure, RecordInvalid


class TransformersBackend:
    """`network` (a causal model, in evaluation mode) and its `tokenizer`; one query at a time.

    `fingerprint` says what its hidden states are, None leaves them out. `options` are the texts of
    the allowed answers, each one token; `chat_template_kwargs` are given to its chat template,
    which is asked not to think where it knows how and they do not say. Raises RecordInvalid where
    the loaded model is another one than the fingerprint's, for an option of several tokens, and for
    a kind of P(T) that cannot be given.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        *,
        model: str,
        fingerprint: Fingerprint | None = None,
        max_new_tokens: int = 256,
        options: Sequence[str] = (),
        p_t_kind: PTKind | None = PTKind.FIRST_TOKEN,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        require_kind(p_t_kind, options)
        self.model = model
        self.fingerprint = fingerprint
        self.options = tuple(options)
        self.p_t_kind = None if p_t_kind is None else PTKind(p_t_kind)
        self._loaded = adopt(network, tokenizer, model=model, revision="", template=chat_template_kwargs)
        self._max_new_tokens = max_new_tokens
        self._decode = decoder(tokenizer)
        self._spellings = spellings_of(self._loaded, self.options) if self.options else None
        if fingerprint is not None:
            _require_fingerprint(self._loaded, fingerprint)

    @property
    def early(self) -> bool:
        """Whether a state is read before the answer is written."""
        return self.fingerprint is not None

    def ask(self, messages: Sequence[Message], *, timeout_s: float, may_answer: MayAnswer | None = None) -> Reply:
        """One try; the model stops after `timeout_s`. Where `may_answer` says no, it stops behind
        the layer that it is asked by. Raises BackendFailed.
        """
        began = time.perf_counter()
        if not self._loaded.lock.acquire(timeout=timeout_s):
            raise BackendFailed(f"{self.model} was busy for {timeout_s:.3g} s", Failure.OVERLOADED)
        try:
            return self._answer(messages, began, timeout_s, may_answer)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:  # what torch and templates raise
            raise BackendFailed(f"{self.model} could not answer: {error}", Failure.REFUSED) from error
        finally:
            self._loaded.lock.release()

    async def ask_async(
        self, messages: Sequence[Message], *, timeout_s: float, may_answer: MayAnswer | None = None
    ) -> Reply:
        """`ask`, in a thread."""
        return await asyncio.to_thread(self.ask, messages, timeout_s=timeout_s, may_answer=may_answer)

    @torch.inference_mode()
    def _answer(
        self, messages: Sequence[Message], began: float, timeout_s: float, may_answer: MayAnswer | None
    ) -> Reply:
        ids = self._encode(messages)
        network, tokenizer = self._loaded.network, self._loaded.tokenizer
        seen: list[Float32Array] = []
        written: Any = None
        with self._watching(seen, int(ids.shape[1]), may_answer), greedy(network, tokenizer):
            written = network.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=self._max_new_tokens,
                max_time=max(0.001, timeout_s - (time.perf_counter() - began)),
                return_dict_in_generate=True,
                output_logits=True,
                pad_token_id=self._loaded.pad_id,
                **self._constraint(int(ids.shape[1])),
            )
        latency_ms = (time.perf_counter() - began) * 1e3
        if latency_ms > timeout_s * 1e3:
            raise BackendFailed(f"{self.model} was still writing after {timeout_s:.3g} s", Failure.TIMEOUT)
        prompt = self._of_prompt(seen, int(ids.shape[1]))
        if written is None:
            return Reply(shown=replace(prompt, tokens_out=0, latency_ms=latency_ms), skipped=True)
        tokens = written.sequences[0, ids.shape[1] :].tolist()
        text = self._decode(tokens)
        within = ends_in_thought(tokenizer, ids[0].tolist())
        finish = Finish.STOP if tokens[-1] in ends_of(network, tokenizer) else Finish.LENGTH
        notes: list[str] = []
        signals = self._signals(tokens, written.logits, text, Ended(finish=finish, within=within), notes)
        shown = replace(
            signals,
            answer=text,
            p_t_kind=self.p_t_kind,
            hidden=prompt.hidden,
            fingerprint=prompt.fingerprint,
            tokens_in=prompt.tokens_in,
            tokens_out=len(tokens),
            latency_ms=latency_ms,
            notes=tuple(notes),
        )
        said = option_of(answer_of(text, within=within) or "", self.options) is not None
        return Reply(shown=shown, finish=finish, enough=self._max_new_tokens == 1 or said)

    def _signals(
        self, tokens: list[int], logits: Sequence[torch.Tensor], text: str, ended: Ended, notes: list[str]
    ) -> Observation:
        """P(T), entropy and margin; without options the entropy is that of the vocabulary at the
        first token.
        """
        first = logits[0][0].float().log_softmax(-1)
        if self._spellings is None:
            others, entropy = None, max(0.0, float(torch.special.entr(first.exp()).sum()))
        else:
            others, entropy = self._spellings.others(first[list(self._spellings.tokens)].tolist(), tokens[0]), None
        if self.p_t_kind is None and others is None:
            return Observation(entropy=entropy)
        each = [float(step[0].float().log_softmax(-1)[token]) for step, token in zip(logits, tokens, strict=True)]
        one_option = self._spellings is not None and self._max_new_tokens == 1
        signals = read_signals(
            written_tokens(self._decode, tokens, each, others),
            text,
            kind=self.p_t_kind or PTKind.FIRST_TOKEN,
            options=self.options,
            ended=replace(ended, finish=Finish.STOP) if one_option else ended,
            notes=notes,
        )
        if signals is None:
            notes.append(NOT_ALIGNED)
            return Observation(entropy=entropy)
        return replace(
            signals,
            p_t=None if self.p_t_kind is None else signals.p_t,
            entropy=signals.entropy if entropy is None else entropy,
        )

    def _constraint(self, prompt: int) -> dict[str, Any]:
        """What makes the likeliest option the answer's first token."""
        if self._spellings is None:
            return {}
        return {"logits_processor": processors(LikeliestOption(self._spellings, prompt))}

    def _of_prompt(self, seen: Sequence[Float32Array], tokens_in: int) -> Observation:
        """What is known once the prompt was read."""
        hidden = seen[0] if seen else None
        return Observation(hidden=hidden, fingerprint=None if hidden is None else self.fingerprint, tokens_in=tokens_in)

    def _encode(self, messages: Sequence[Message]) -> torch.Tensor:
        """The prompt's tokens [1, n]."""
        (ids,) = self._loaded.tokens_of([self._loaded.prompt(messages)])
        if not ids:
            raise ValueError("the prompt has no tokens")
        limit = self._loaded.context
        if limit is not None and len(ids) >= limit:
            raise ValueError(f"the prompt has {len(ids)} tokens, the context holds {limit}")
        device: torch.device = self._loaded.network.device
        return torch.tensor([ids], dtype=torch.long, device=device)

    def _watching(
        self, seen: list[Float32Array], tokens_in: int, may_answer: MayAnswer | None
    ) -> AbstractContextManager[Any]:
        """Keeps the state at the last prompt token, and asks whether to go on: the first pass is
        the prompt's.
        """
        if self.fingerprint is None:
            return nullcontext()

        def keep(_: int, states: torch.Tensor) -> object:
            if seen:
                return None
            seen.append(states[0, -1].float().cpu().numpy().astype(np.float32))
            goes_on = may_answer is None or may_answer(self._of_prompt(seen, tokens_in))
            return None if goes_on else ENOUGH

        return watching(self._loaded.network, (self.fingerprint.layer,), keep)


def _require_fingerprint(loaded: LoadedModel, fingerprint: Fingerprint) -> None:
    """Raises RecordInvalid where the loaded model's states are not the fingerprint's."""
    require_engine(fingerprint, engine="transformers", normed=False)
    own = loaded.fingerprint(fingerprint.layer)
    for name in ("dtype", "engine_version", "chat_template_sha256"):
        if getattr(fingerprint, name) != getattr(own, name):
            cure = f"the loaded model has {getattr(own, name)!r}"
            raise RecordInvalid(f"fingerprint.{name}", getattr(fingerprint, name), cure)

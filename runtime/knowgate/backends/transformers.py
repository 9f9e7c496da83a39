"""A Hugging Face causal model in this very process (extra `transformers`): for small tiers, batch work and tests.

One `generate` call answers; a hook on the wanted block keeps the state at the last prompt token, so the vector is
what training reads: what leaves block n, before the final norm. The fingerprint comes from outside, usually from the
bundle, and is held against the model that was loaded: another dtype, template or library version is refused when the
back-end is made, not when its vectors have long been wrong.
"""

import asyncio
import hashlib
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
import transformers

from knowgate.arrays import Float32Array
from knowgate.backends.protocol import Message, Reply, require_engine
from knowgate.errors import BackendFailed, Failure, RecordInvalid
from knowgate.records import Fingerprint


class TransformersBackend:
    """`network` (a causal model, in evaluation mode) and its `tokenizer`; one query at a time.

    `fingerprint` says what its hidden states are, None leaves them out. Raises RecordInvalid where the loaded model
    is another one than the fingerprint's.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        *,
        model: str,
        fingerprint: Fingerprint | None = None,
        max_new_tokens: int = 256,
    ) -> None:
        self.model = model
        self.fingerprint = fingerprint
        self._network = network.eval()
        self._tokenizer = tokenizer
        self._max_new_tokens = max_new_tokens
        self._lock = threading.Lock()
        self._watched = None if fingerprint is None else _watched(network, tokenizer, fingerprint)

    def ask(self, messages: Sequence[Message], *, timeout_s: float) -> Reply:
        """One try; the model stops after `timeout_s`. Raises BackendFailed."""
        began = time.perf_counter()
        if not self._lock.acquire(timeout=timeout_s):
            raise BackendFailed(f"{self.model} was busy for {timeout_s:.3g} s", Failure.OVERLOADED)
        try:
            return self._answer(messages, began, timeout_s)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:  # what torch and templates raise
            raise BackendFailed(f"{self.model} could not answer: {error}", Failure.REFUSED) from error
        finally:
            self._lock.release()

    async def ask_async(self, messages: Sequence[Message], *, timeout_s: float) -> Reply:
        """`ask`, in a thread."""
        return await asyncio.to_thread(self.ask, messages, timeout_s=timeout_s)

    @torch.inference_mode()
    def _answer(self, messages: Sequence[Message], began: float, timeout_s: float) -> Reply:
        ids = self._encode(messages)
        limit = getattr(self._network.config, "max_position_embeddings", None)
        if limit is not None and ids.shape[1] >= limit:
            raise ValueError(f"the prompt has {ids.shape[1]} tokens, the context holds {limit}")
        seen: list[torch.Tensor] = []
        with self._watching(seen):
            written = self._network.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=self._max_new_tokens,
                do_sample=False,
                max_time=max(0.001, timeout_s - (time.perf_counter() - began)),
                return_dict_in_generate=True,
                output_logits=True,
                pad_token_id=self._tokenizer.pad_token_id or self._tokenizer.eos_token_id or 0,
            )
        latency_ms = (time.perf_counter() - began) * 1e3
        if latency_ms > timeout_s * 1e3:
            raise BackendFailed(f"{self.model} was still writing after {timeout_s:.3g} s", Failure.TIMEOUT)
        tokens = written.sequences[0, ids.shape[1] :]
        log_p = written.logits[0][0].float().log_softmax(-1)
        hidden = _as_numpy(seen)
        return Reply(
            text=self._tokenizer.decode(tokens, skip_special_tokens=True),
            p_t=min(1.0, float(log_p[tokens[0]].exp())),
            entropy=max(0.0, float(torch.special.entr(log_p.exp()).sum())),
            hidden=hidden,
            fingerprint=None if hidden is None else self.fingerprint,
            tokens_in=int(ids.shape[1]),
            tokens_out=len(tokens),
            latency_ms=latency_ms,
        )

    def _encode(self, messages: Sequence[Message]) -> torch.Tensor:
        """The prompt's tokens [1, n]: through the chat template, or, without one, the messages' texts as they are."""
        if self._tokenizer.chat_template:
            text = self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
            special = False
        else:
            text, special = "\n".join(str(message["content"]) for message in messages), True
        ids = self._tokenizer(text, add_special_tokens=special, return_tensors="pt")["input_ids"]
        if not ids.numel():
            raise ValueError("the prompt has no tokens")
        device: torch.device = self._network.device
        return torch.as_tensor(ids, dtype=torch.long, device=device)

    def _watching(self, seen: list[torch.Tensor]) -> AbstractContextManager[Any]:
        """Keeps the state at the last prompt token: the first pass is the prompt's."""
        if self._watched is None:
            return nullcontext()

        def keep(_: Any, __: Any, output: Any) -> None:
            if not seen:
                seen.append((output[0] if isinstance(output, tuple) else output)[0, -1])

        handle: AbstractContextManager[Any] = self._watched.register_forward_hook(keep)
        return handle


def _watched(network: Any, tokenizer: Any, fingerprint: Fingerprint) -> Any:
    """The module whose output is the fingerprint's state. Raises RecordInvalid."""
    require_engine(fingerprint, engine="transformers", normed=False)
    template = str(tokenizer.chat_template or "")
    loaded = {
        "dtype": str(network.dtype).removeprefix("torch."),
        "engine_version": transformers.__version__,
        "chat_template_sha256": hashlib.sha256(template.encode()).hexdigest(),
    }
    for name, value in loaded.items():
        if getattr(fingerprint, name) != value:
            raise RecordInvalid(f"fingerprint.{name}", getattr(fingerprint, name), f"the loaded model has {value!r}")
    if fingerprint.layer == 0:
        return network.get_input_embeddings()
    blocks = _blocks(network)
    if not 1 <= fingerprint.layer <= len(blocks):
        raise RecordInvalid("fingerprint.layer", fingerprint.layer, f"the loaded model has layers 0 to {len(blocks)}")
    return blocks[fingerprint.layer - 1]


def _blocks(network: Any) -> Any:
    """The one outermost list of as many modules as the configuration counts layers; found by structure, not name."""
    wanted = network.config.get_text_config(decoder=True).num_hidden_layers
    found: dict[str, Any] = {}
    for name, module in network.named_modules():
        nested = any(name.startswith(f"{outer}.") for outer in found)
        if isinstance(module, torch.nn.ModuleList) and len(module) == wanted and not nested:
            found[name] = module
    if len(found) != 1:
        raise RecordInvalid("network", type(network).__name__, f"{len(found)} lists of {wanted} blocks: give no layer")
    return next(iter(found.values()))


def _as_numpy(seen: list[torch.Tensor]) -> Float32Array | None:
    return seen[0].float().cpu().numpy().astype(np.float32) if seen else None

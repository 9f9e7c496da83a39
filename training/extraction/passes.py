"""One forward pass over one batch: the wanted states, and the next-token logits when they are asked
for.

Decisions:
- Without logits the pass ends after the topmost wanted layer, and the topmost block does its
  feed-forward part for the one token that is read (see narrowing). With logits it runs through, and
  the head sees one token per prompt.
- On a CPU in float32 the products run on packed weights (see packed).
- No cache is built. Padding comes last, and a causal model then needs no mask: no token sees what
  follows it, so attention takes its fastest path. Whether a model is causal is tried, by changing a
  token and looking at those before.
- Padding that comes first (longer answers are written that way) has a mask and positions counted
  from the first token.
"""

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from knowgate.backends.blocks import blocks_of, final_norm, watching
from knowgate.backends.loading import LoadedModel
from training.errors import ExtractionRefused, refusing
from training.extraction.batches import Batch, pad
from training.extraction.compiled import compiled
from training.extraction.narrowing import Call, narrowable, narrowed
from training.extraction.packed import packable, packed
from training.extraction.positions import LAST, MEAN, Position

_PROBE = 6  # tokens of the prompt that a model is tried with


class Passes:
    """A model, the layers and positions that are read of it, and whether logits are."""

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        layers: tuple[int, ...],
        positions: tuple[Position, ...],
        normed: bool,
        logits: bool,
        compile_blocks: bool = False,
    ) -> None:
        self.loaded = loaded
        self._layers = layers
        self._positions = positions
        self._logits = logits
        self._norm = final_norm(loaded.network) if normed else None
        self._top = loaded.layers if logits else max(layers)
        self._causal: bool | None = None  # tried before the first pass
        self._narrow: tuple[str, ...] = ()
        blocks = blocks_of(loaded.network)[: self._top]
        self._compiled = tuple(blocks[:-1]) if compile_blocks else ()
        self._linear = packable(blocks[len(self._compiled) :])  # a compiled block brings its own products

    @torch.inference_mode()
    def run(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """float32 on the CPU: states [batch, layers × positions, d] (layer by layer), logits
        [batch, vocabulary].
        """
        with self.loaded.lock, refusing():
            if self._causal is None:
                self._try()
            with packed(self._linear), compiled(self._compiled):
                states, logits = self._run(batch)
        return states.float().cpu(), None if logits is None else logits.float().cpu()

    def _run(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        seen: dict[int, Tensor] = {}
        logits: Tensor | None = None

        def keep(layer: int, hidden: Tensor) -> None:
            seen[layer] = torch.stack([position.read(hidden, batch) for position in self._positions], dim=1)

        network = self.loaded.network
        with watching(network, self._layers, keep, stop=not self._logits), self._narrowed(batch):
            if self._logits:
                logits = self._with_logits(batch)
            else:
                network.base_model(**self._inputs(batch, network.base_model))
        # with several devices each layer's states lie where the layer does
        states = torch.cat([seen[layer].to(network.device) for layer in self._layers], dim=1)
        return states if self._norm is None else self._norm(states), logits

    def _with_logits(self, batch: Batch) -> Tensor:
        if not self._causal:
            raise ExtractionRefused(f"{self.loaded.model} is an encoder and answers nothing: read its states alone")
        network = self.loaded.network
        head = network.get_output_embeddings()
        if head is None:
            raise ExtractionRefused(f"{self.loaded.model} has no output head: read its states alone")

        def last(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            return (_chosen(arguments[0], batch.last), *arguments[1:])

        handle = head.register_forward_pre_hook(last)
        try:
            logits: Tensor = network(**self._inputs(batch, network)).logits
        finally:
            handle.remove()
        return logits[:, 0] if logits.shape[1] == 1 else _chosen(logits, batch.last)[:, 0]

    def _inputs(self, batch: Batch, asked: nn.Module) -> dict[str, Any]:
        device, accepts = self.loaded.network.device, inspect.signature(asked.forward).parameters
        inputs: dict[str, Any] = {"input_ids": batch.input_ids.to(device, non_blocking=True)}
        if batch.left and not self._causal:
            raise ExtractionRefused(f"{self.loaded.model} is an encoder: its padding comes last; leave left out")
        if batch.padded and (batch.left or not self._causal):
            inputs["attention_mask"] = batch.attention_mask.to(device, non_blocking=True)
        if batch.padded and batch.left and "position_ids" in accepts:
            inputs["position_ids"] = batch.position_ids.to(device, non_blocking=True)
        if "use_cache" in accepts:
            inputs["use_cache"] = False
        return inputs

    @contextmanager
    def _narrowed(self, batch: Batch) -> Iterator[None]:
        with ExitStack() as stack:
            if self._narrow:
                at = self._positions[0].at(batch)
                stack.enter_context(
                    narrowed(
                        blocks_of(self.loaded.network)[self._top - 1],
                        self._narrow,
                        lambda x: _chosen(x, at),
                        batch.input_ids.shape[1],
                    )
                )
            yield

    def _try(self) -> None:
        """Find out whether the model is causal, and which parts of the topmost block may see one
        token.
        """
        vocabulary = self.loaded.network.get_input_embeddings().num_embeddings
        first = [(7 * at + 3) % vocabulary for at in range(_PROBE)]
        other = [*first[:-1], (first[-1] + 1) % vocabulary]
        states, calls = zip(*(self._probe(tokens) for tokens in (first, other)), strict=True)
        before = [state[:, :-1].nan_to_num() for state in states]  # a broken model shows by its states, not here
        self._causal = bool(torch.equal(*before))
        one_token = len(self._positions) == 1 and self._positions[0].name != MEAN
        answers_there = not self._logits or self._positions[0].name == LAST
        if one_token and answers_there and calls[0] is not None:
            self._narrow = narrowable(blocks_of(self.loaded.network)[self._top - 1], calls[0])

    def _probe(self, tokens: list[int]) -> tuple[Tensor, Call | None]:
        """The states [1, tokens, d] at the top, and how the topmost block was called for them."""
        network = self.loaded.network
        seen: list[Tensor] = []
        calls: list[Call] = []
        self._causal = False  # nothing is assumed of the model that is being tried
        with ExitStack() as stack:
            if self._top > 0:
                block = blocks_of(network)[self._top - 1]
                handle = block.register_forward_pre_hook(
                    lambda _, given, named: calls.append((given, named)), with_kwargs=True
                )
                stack.callback(handle.remove)
            stack.enter_context(watching(network, (self._top,), lambda _, hidden: seen.append(hidden), stop=True))
            network.base_model(**self._inputs(pad((0,), [tokens], 0, False), network.base_model))
        return seen[0], calls[0] if calls else None


def _chosen(x: Tensor, at: Tensor) -> Tensor:
    """[batch, 1, any] of [batch, tokens, any]."""
    return x[torch.arange(len(at), device=x.device), at.to(x.device)][:, None]
